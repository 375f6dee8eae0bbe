#include "scheduler/backup.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "base/file.h"
#include "base/status_macros.h"
#include "base/version.h"
#include "crypto/hash.h"
#include "fmt/format.h"
#include "objects/tar.h"
#include "scheduler/backup_files.h"
#include "store/copy.h"
#include "store/store.h"

namespace corpgrid::scheduler {
namespace {

namespace fs = std::filesystem;

constexpr int kTries = 3;  // a job that is removed meanwhile makes a copy worthless
constexpr uintmax_t kMaxKeyBytes = 64 << 10;

// One archive in the making.
class Archive {
 public:
  Archive(std::string path, const BackupProgress& progress)
      : path_(std::move(path)), progress_(progress) {}

  absl::Status Begin(uint64_t total_bytes) {
    total_bytes_ = total_bytes;
    fd_ = UniqueFd(::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    return fd_.ok() ? absl::OkStatus() : FileError(path_, "make", errno);
  }

  // Errors: NotFound when there is no `file`.
  absl::StatusOr<crypto::Hash> Add(const std::string& name, const std::string& file) {
    const UniqueFd in(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat about{};
    if (!in.ok() || ::fstat(in.get(), &about) != 0) return FileError(file, "open", errno);
    const auto size = static_cast<uint64_t>(about.st_size);
    RETURN_IF_ERROR(Write(HeaderOf(name, size)));
    crypto::Hasher hasher;
    std::string buffer(kCopyBytes, '\0');
    uint64_t left = size;
    while (left > 0) {
      const ssize_t got = ::read(in.get(), buffer.data(), std::min<uint64_t>(left, buffer.size()));
      if (got < 0) return FileError(file, "read", errno);
      if (got == 0) return absl::AbortedError(fmt::format("{} became shorter", file));
      const std::string_view part(buffer.data(), static_cast<size_t>(got));
      hasher.Update(part);
      RETURN_IF_ERROR(Write(part));
      left -= part.size();
    }
    RETURN_IF_ERROR(Write(std::string(objects::TarPadding(size), '\0')));
    return hasher.Finish();
  }

  absl::Status AddPart(const std::string& name, const std::string& file) {
    ASSIGN_OR_RETURN(const crypto::Hash hash, Add(name, file));
    parts_.push_back({{"name", name}, {"blake3", hash.Hex()}});
    return absl::OkStatus();
  }

  absl::Status End(nlohmann::json manifest) {
    manifest["parts"] = parts_;
    const std::string text = manifest.dump(1) + "\n";
    RETURN_IF_ERROR(Write(HeaderOf(kManifest, text.size())));
    RETURN_IF_ERROR(Write(text + std::string(objects::TarPadding(text.size()), '\0')));
    RETURN_IF_ERROR(Write(std::string(objects::kTarEndBytes, '\0')));
    if (::fsync(fd_.get()) != 0) return FileError(path_, "sync", errno);
    return absl::OkStatus();
  }

  uint64_t bytes() const { return bytes_; }

 private:
  static std::string HeaderOf(const std::string& name, uint64_t size_bytes) {
    return objects::EncodeTarHeader(
        {.path = name, .is_folder = false, .is_executable = false, .size_bytes = size_bytes});
  }

  absl::Status Write(std::string_view data) {
    bytes_ += data.size();
    progress_(std::min(bytes_, total_bytes_), total_bytes_);
    return WriteAll(fd_.get(), data, path_);
  }

  const std::string path_;
  const BackupProgress& progress_;
  UniqueFd fd_;
  uint64_t bytes_ = 0;
  uint64_t total_bytes_ = 0;
  nlohmann::json parts_ = nlohmann::json::array();
};

// A copy of the whole database as it is at one moment, whoever writes to it meanwhile.
absl::Status CopyDatabase(const std::string& from, const std::string& to) {
  std::error_code error;
  fs::remove(to, error);
  ASSIGN_OR_RETURN(sqlite::Database db, sqlite::Database::OpenForReading(from));
  return db.Run("VACUUM INTO ?", std::string_view(to));
}

// The scheduler's keys and what it remembers beside the state, and the submitter's key.
std::map<std::string, std::string> KeysIn(const std::string& data_folder) {
  std::map<std::string, std::string> keys;  // by their names in the archive
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(data_folder + "/scheduler", error)) {
    const std::string name = entry.path().filename().string();
    const bool is_key = entry.is_regular_file(error) && !name.starts_with("state.db") &&
                        name != "lock" && name != "leader" &&
                        entry.file_size(error) <= kMaxKeyBytes;
    if (is_key) keys["scheduler/" + name] = entry.path().string();
  }
  const std::string submitter = data_folder + "/submitter.key";
  if (fs::exists(submitter, error)) keys["submitter.key"] = submitter;
  return keys;
}

class Maker {
 public:
  Maker(std::string data_folder, std::string store, std::string work,
        const BackupProgress& progress)
      : data_(std::move(data_folder)),
        store_(std::move(store)),
        work_(std::move(work)),
        progress_(progress) {}

  // Aborted: something went away meanwhile, try again.
  absl::StatusOr<BackupReport> Try();

 private:
  absl::Status CopyState();
  absl::Status CheckNothingWent(const std::vector<int64_t>& jobs) const;
  std::string ChunkPath(const crypto::Hash& hash) const {
    return fmt::format("{}/{}/{}", data_, kChunksFolder, ChunkName(hash));
  }

  const std::string data_;
  const std::string store_;
  const std::string work_;
  const BackupProgress& progress_;
};

absl::Status Maker::CopyState() {
  const std::string to = work_ + "/state.db";
  if (!store::IsPostgresUrl(store_)) return CopyDatabase(store_, to);
  return store::Copy(store_, to, [](uint64_t, uint64_t) {}).status();
}

// A job that was removed after the state was copied may have lost its objects before they were.
absl::Status Maker::CheckNothingWent(const std::vector<int64_t>& jobs) const {
  if (store::IsPostgresUrl(store_)) return absl::OkStatus();  // nobody had it open
  ASSIGN_OR_RETURN(const std::vector<int64_t> now, JobsOf(store_));
  if (std::includes(now.begin(), now.end(), jobs.begin(), jobs.end())) return absl::OkStatus();
  return absl::AbortedError("jobs were removed while they were copied; try again");
}

absl::StatusOr<BackupReport> Maker::Try() {
  Archive archive(work_ + "/archive", progress_);
  // The keys first: the last checkpoint of the audit log must not be newer than the log.
  const std::string keys_folder = work_ + "/keys";
  std::error_code error;
  fs::create_directory(keys_folder, error);
  std::map<std::string, std::string> keys = KeysIn(data_);
  for (auto& [name, path] : keys) {
    const std::string copy = fmt::format("{}/{}", keys_folder, fs::path(path).filename().string());
    fs::copy_file(path, copy, fs::copy_options::overwrite_existing, error);
    if (error) return FileError(path, "copy", error.value());
    path = copy;
  }
  RETURN_IF_ERROR(CopyState());
  RETURN_IF_ERROR(CopyDatabase(data_ + "/" + kIndexPart, work_ + "/index.db"));
  ASSIGN_OR_RETURN(const std::vector<crypto::Hash> chunks, ChunksOf(work_ + "/index.db"));
  ASSIGN_OR_RETURN(const std::vector<int64_t> jobs, JobsOf(work_ + "/state.db"));
  uint64_t total = fs::file_size(work_ + "/state.db", error);
  total += fs::file_size(work_ + "/index.db", error);
  for (const crypto::Hash& chunk : chunks) {
    const uintmax_t size = fs::file_size(ChunkPath(chunk), error);
    if (!error) total += size;
  }
  RETURN_IF_ERROR(archive.Begin(total));
  for (const auto& [name, path] : keys) RETURN_IF_ERROR(archive.AddPart(name, path));
  RETURN_IF_ERROR(archive.AddPart(kStatePart, work_ + "/state.db"));
  RETURN_IF_ERROR(archive.AddPart(kIndexPart, work_ + "/index.db"));
  for (const crypto::Hash& chunk : chunks) {
    const std::string path = ChunkPath(chunk);
    const absl::StatusOr<crypto::Hash> hash =
        archive.Add(fmt::format("{}/{}", kChunksFolder, ChunkName(chunk)), path);
    if (absl::IsNotFound(hash.status())) {
      return absl::AbortedError("objects were deleted while they were copied; try again");
    }
    RETURN_IF_ERROR(hash.status());
    if (*hash != chunk) return absl::DataLossError(fmt::format("{} is damaged", path));
  }
  RETURN_IF_ERROR(CheckNothingWent(jobs));
  BackupReport report{.jobs = jobs.size(), .chunks = chunks.size()};
  ASSIGN_OR_RETURN(report.grid_id, GridIdOf(work_ + "/state.db"));
  RETURN_IF_ERROR(archive.End({{"format", kBackupFormat},
                               {"version", kVersion},
                               {"grid_id", report.grid_id},
                               {"jobs", report.jobs},
                               {"chunks", report.chunks}}));
  report.bytes = archive.bytes();
  return report;
}

}  // namespace

absl::StatusOr<BackupReport> Backup(const std::string& data_folder, const std::string& store,
                                    const std::string& file, const BackupProgress& progress) {
  std::error_code error;
  const std::string state = store.empty() ? data_folder + "/" + kStatePart : store;
  if (!store::IsPostgresUrl(state) && !fs::exists(state, error)) {
    return absl::NotFoundError(
        fmt::format("there is no {}; name the grid's folder with --data, and its store with "
                    "--store when it is elsewhere",
                    state));
  }
  if (fs::exists(file, error)) {
    return absl::AlreadyExistsError(
        fmt::format("{} is there already; choose another name, or move it away", file));
  }
  ASSIGN_OR_RETURN(const WorkFolder work, WorkFolder::Make(file, "making"));
  absl::StatusOr<BackupReport> report = absl::UnknownError("");
  for (int i = 0; i < kTries; ++i) {
    report = Maker(data_folder, state, work.path(), progress).Try();
    if (!absl::IsAborted(report.status())) break;
  }
  RETURN_IF_ERROR(report.status());
  if (::rename((work.path() + "/archive").c_str(), file.c_str()) != 0) {
    return FileError(file, "make", errno);
  }
  RETURN_IF_ERROR(SyncFolderOf(file));
  return report;
}

}  // namespace corpgrid::scheduler
