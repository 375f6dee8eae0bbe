#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>
#include <utility>

#include "base/file.h"
#include "base/status_macros.h"
#include "crypto/hash.h"
#include "fmt/format.h"
#include "objects/bundle.h"
#include "objects/tar.h"
#include "scheduler/backup.h"
#include "scheduler/backup_files.h"
#include "store/copy.h"

namespace corpgrid::scheduler {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

absl::Status Damaged(const std::string& what) {
  return absl::DataLossError(fmt::format("{}; nothing was restored: take another backup", what));
}

absl::StatusOr<crypto::Hash> HashOfFile(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.ok()) return FileError(path, "open", errno);
  crypto::Hasher hasher;
  std::string buffer(kCopyBytes, '\0');
  for (;;) {
    const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
    if (got < 0) return FileError(path, "read", errno);
    if (got == 0) return hasher.Finish();
    hasher.Update(std::string_view(buffer.data(), static_cast<size_t>(got)));
  }
}

// Unpacks the archive into `folder`. Its errors of the archive's form are DataLoss here.
absl::Status Unpack(const std::string& file, const std::string& folder,
                    const BackupProgress& progress) {
  const UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat about{};
  if (!fd.ok() || ::fstat(fd.get(), &about) != 0) return FileError(file, "open", errno);
  uint64_t done = 0;
  const objects::Source source = [&]() -> absl::StatusOr<std::string> {
    std::string part(kCopyBytes, '\0');
    const ssize_t got = ::read(fd.get(), part.data(), part.size());
    if (got < 0) return FileError(file, "read", errno);
    part.resize(static_cast<size_t>(got));
    progress(done += part.size(), static_cast<uint64_t>(about.st_size));
    return part;
  };
  const absl::Status status =
      objects::UnpackBundle(source, folder,
                            {.bytes = std::numeric_limits<int64_t>::max(),
                             .entries = std::numeric_limits<int64_t>::max()});
  if (!absl::IsInvalidArgument(status)) return status;
  return Damaged(
      fmt::format("{} is no backup, or not whole ({})", file, std::string(status.message())));
}

// What was unpacked, against the manifest.
class Verifier {
 public:
  explicit Verifier(std::string folder) : folder_(std::move(folder)) {}

  absl::StatusOr<BackupReport> Verify();

 private:
  absl::Status ReadManifest();
  absl::Status CheckPart(const std::string& name, const std::string& hash);
  absl::Status CheckChunks(uint64_t count);
  absl::Status CheckNothingElse(uint64_t chunks) const;

  const std::string folder_;
  json manifest_;
  std::set<std::string> parts_;
};

absl::Status Verifier::ReadManifest() {
  std::ifstream in(fmt::format("{}/{}", folder_, kManifest), std::ios::binary);
  if (!in) return Damaged("the archive has no manifest: it is no backup, or not whole");
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  manifest_ = json::parse(text, nullptr, /*allow_exceptions=*/false);
  const bool known = manifest_.is_object() && manifest_.value("format", json()) == kBackupFormat;
  if (known && manifest_.value("parts", json()).is_array()) return absl::OkStatus();
  return Damaged("the backup's manifest is damaged, or a newer program's");
}

absl::Status Verifier::CheckPart(const std::string& name, const std::string& hash) {
  if (!objects::TarPathProblem(name, objects::UnpackLimits()).empty()) {
    return Damaged("the manifest names a file elsewhere");
  }
  const absl::StatusOr<crypto::Hash> found = HashOfFile(folder_ + "/" + name);
  if (absl::IsNotFound(found.status())) return Damaged(fmt::format("{} is missing", name));
  RETURN_IF_ERROR(found.status());
  if (found->Hex() != hash) return Damaged(fmt::format("{} is not as it was written", name));
  parts_.insert(name);
  return absl::OkStatus();
}

absl::Status Verifier::CheckChunks(uint64_t count) {
  ASSIGN_OR_RETURN(const std::vector<crypto::Hash> chunks,
                   ChunksOf(fmt::format("{}/{}", folder_, kIndexPart)));
  if (chunks.size() != count) return Damaged("the manifest tells of other objects");
  for (const crypto::Hash& chunk : chunks) {
    RETURN_IF_ERROR(CheckPart(fmt::format("{}/{}", kChunksFolder, ChunkName(chunk)), chunk.Hex()));
  }
  return absl::OkStatus();
}

absl::Status Verifier::CheckNothingElse(uint64_t chunks) const {
  uint64_t files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder_)) {
    if (!entry.is_directory()) ++files;
  }
  // The manifest, and what was checked.
  if (files == parts_.size() + 1 && parts_.size() >= chunks) return absl::OkStatus();
  return Damaged("the archive has files that the manifest does not know");
}

absl::StatusOr<BackupReport> Verifier::Verify() {
  RETURN_IF_ERROR(ReadManifest());
  for (const json& part : manifest_["parts"]) {
    const json name = part.is_object() ? part.value("name", json()) : json();
    const json hash = part.is_object() ? part.value("blake3", json()) : json();
    if (!name.is_string() || !hash.is_string()) return Damaged("the manifest is damaged");
    RETURN_IF_ERROR(CheckPart(name, hash));
  }
  if (!parts_.contains(kStatePart) || !parts_.contains(kIndexPart)) {
    return Damaged("the backup lacks the grid's state");
  }
  const json chunks = manifest_.value("chunks", json());
  if (!chunks.is_number_unsigned()) return Damaged("the manifest is damaged");
  RETURN_IF_ERROR(CheckChunks(chunks));
  RETURN_IF_ERROR(CheckNothingElse(chunks));
  const std::string state = fmt::format("{}/{}", folder_, kStatePart);
  ASSIGN_OR_RETURN(const std::vector<int64_t> jobs, JobsOf(state));
  BackupReport report{.jobs = jobs.size(), .chunks = chunks};
  ASSIGN_OR_RETURN(report.grid_id, GridIdOf(state));
  return report;
}

// Keys are this user's alone again.
absl::Status CloseToOthers(const std::string& folder) {
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const mode_t mode = entry.is_directory() ? 0700 : 0600;
    if (::chmod(entry.path().c_str(), mode) != 0) {
      return FileError(entry.path().string(), "set the mode of", errno);
    }
  }
  return absl::OkStatus();
}

absl::Status SyncAll(const std::string& folder) {
  const UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.ok() || ::syncfs(fd.get()) != 0) return FileError(folder, "sync", errno);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<BackupReport> Restore(const std::string& file, const std::string& data_folder,
                                     const std::string& store, const BackupProgress& progress) {
  std::error_code error;
  if (fs::exists(data_folder, error) && !fs::is_empty(data_folder, error)) {
    return absl::FailedPreconditionError(fmt::format(
        "{} is not empty; move it away, or choose a folder that is not there yet", data_folder));
  }
  ASSIGN_OR_RETURN(const WorkFolder work, WorkFolder::Make(data_folder, "restoring"));
  const std::string made = work.path() + "/data";
  fs::create_directory(made, error);
  RETURN_IF_ERROR(Unpack(file, made, progress));
  ASSIGN_OR_RETURN(BackupReport report, Verifier(made).Verify());
  fs::remove(fmt::format("{}/{}", made, kManifest), error);
  RETURN_IF_ERROR(CloseToOthers(made));
  const std::string state = fmt::format("{}/{}", made, kStatePart);
  if (!store.empty()) {
    RETURN_IF_ERROR(store::Copy(state, store, [](uint64_t, uint64_t) {}).status());
    for (const char* suffix : {"", "-wal", "-shm", ".lock"}) fs::remove(state + suffix, error);
  }
  RETURN_IF_ERROR(SyncAll(made));
  ::chmod(made.c_str(), 0700);
  // A folder that is there and empty gives way.
  if (::rename(made.c_str(), data_folder.c_str()) != 0)
    return FileError(data_folder, "make", errno);
  RETURN_IF_ERROR(SyncFolderOf(data_folder));
  report.bytes = fs::file_size(file, error);
  return report;
}

}  // namespace corpgrid::scheduler
