#include "cli/results.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <iterator>
#include <mutex>
#include <thread>
#include <vector>

#include "base/status_macros.h"
#include "cli/json.h"
#include "cli/patience.h"
#include "cli/shards.h"
#include "cli/table.h"
#include "crypto/signature.h"
#include "fmt/format.h"
#include "rpc/transfer.h"

namespace corpgrid::cli {
namespace {

namespace v1 = corpgrid::v1;

constexpr size_t kThreads = 4;
constexpr size_t kReadBytes = 1 << 20;

struct Wanted {
  std::string path;
  crypto::Hash hash;
  uint64_t size_bytes = 0;
};

absl::Status FileError(std::string_view verb, const std::string& path) {
  return absl::ErrnoToStatus(errno, fmt::format("cannot {} {}", verb, path));
}

// The new file beside its final place; removed unless it was moved there.
class PartialFile {
 public:
  explicit PartialFile(const std::string& path)
      : path_(path), part_(fmt::format("{}.part-{}", path, Hex(crypto::RandomBytes(6)))) {}
  PartialFile(const PartialFile&) = delete;
  ~PartialFile() {
    if (fd_ >= 0) close(fd_);
    if (fd_ >= 0 && !moved_) unlink(part_.c_str());
  }

  absl::Status Open() {
    fd_ = open(part_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd_ < 0) return FileError("write", part_);
    return absl::OkStatus();
  }

  absl::Status Append(std::string_view data) {
    while (!data.empty()) {
      const ssize_t size = write(fd_, data.data(), data.size());
      if (size < 0 && errno == EINTR) continue;
      if (size < 0) return FileError("write", path_);
      data.remove_prefix(static_cast<size_t>(size));
    }
    return absl::OkStatus();
  }

  absl::Status Truncate() {
    if (ftruncate(fd_, 0) != 0 || lseek(fd_, 0, SEEK_SET) != 0) return FileError("write", path_);
    return absl::OkStatus();
  }

  absl::Status MoveIntoPlace() {
    if (rename(part_.c_str(), path_.c_str()) != 0) return FileError("write", path_);
    moved_ = true;
    return absl::OkStatus();
  }

 private:
  const std::string path_;
  const std::string part_;
  int fd_ = -1;
  bool moved_ = false;
};

// `count` gets the bytes of each part that arrived; negative when they are fetched anew.
absl::Status Fetch(Client& client, const Wanted& wanted,
                   const std::function<void(int64_t)>& count) {
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(wanted.path).parent_path(), error);
  if (error) {
    return absl::UnknownError(
        fmt::format("cannot make the folder of {}: {}", wanted.path, error.message()));
  }
  PartialFile file(wanted.path);
  RETURN_IF_ERROR(file.Open());
  Patience patience(kChangePatienceMs);
  while (true) {
    int64_t received = 0;
    const absl::Status status =
        client.objects().Get({}, wanted.hash, wanted.size_bytes, [&](std::string_view data) {
          received += std::ssize(data);
          count(std::ssize(data));
          return file.Append(data);
        });
    if (status.ok()) return file.MoveIntoPlace();
    if (!absl::IsUnavailable(status)) return status;
    if (client.GridIsGone() || !patience.Wait()) return client.Unreachable(status);
    count(-received);
    RETURN_IF_ERROR(file.Truncate());
  }
}

using Outputs = google::protobuf::RepeatedPtrField<v1::OutputRef>;

absl::Status AddOutputs(const Outputs& outputs, const std::string& folder,
                        std::vector<Wanted>* wanted) {
  for (const v1::OutputRef& output : outputs) {
    RETURN_IF_ERROR(CheckOutputName(output.name()));
    ASSIGN_OR_RETURN(const crypto::Hash hash, crypto::Hash::FromRaw(output.hash()));
    wanted->push_back({.path = fmt::format("{}/{}", folder, output.name()),
                       .hash = hash,
                       .size_bytes = output.size_bytes()});
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Wanted>> WantedFiles(Client& client, uint64_t job_id,
                                                const std::string& folder) {
  std::vector<Wanted> wanted;
  bool any = false;
  RETURN_IF_ERROR(ForEachShard(client, job_id, 0, [&](const v1::Shard& shard) -> absl::Status {
    const std::string place = fmt::format("{}/{}", folder, shard.index());
    if (shard.state() == "done") {
      any = true;
      return AddOutputs(shard.outputs(), place, &wanted);
    }
    // Of a shard that no quorum agreed on, every answer.
    for (const v1::Attempt& attempt : shard.attempts()) {
      if (attempt.state() != "undecided") continue;
      any = true;
      RETURN_IF_ERROR(AddOutputs(attempt.outputs(),
                                 fmt::format("{}/attempt-{}", place, attempt.id()), &wanted));
    }
    return absl::OkStatus();
  }));
  if (!any) {
    return absl::NotFoundError(
        fmt::format("no shard of job {} is done yet: corpgrid job show {}", job_id, job_id));
  }
  return wanted;
}

}  // namespace

absl::Status CheckOutputName(std::string_view name) {
  std::string_view rest = name;
  while (true) {
    const size_t slash = rest.find('/');
    const std::string_view part = rest.substr(0, slash);
    const bool nul = part.find('\0') != std::string_view::npos;
    if (part.empty() || part == "." || part == ".." || nul) {
      return absl::DataLossError(
          fmt::format("the grid names an output \"{}\", which leaves its folder: not fetched",
                      Printable(name)));
    }
    if (slash == std::string_view::npos) return absl::OkStatus();
    rest.remove_prefix(slash + 1);
  }
}

bool FileHas(const std::string& path, const crypto::Hash& hash, uint64_t size_bytes) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return false;
  struct stat info{};
  bool same = fstat(fd, &info) == 0 && S_ISREG(info.st_mode) &&
              static_cast<uint64_t>(info.st_size) == size_bytes;
  crypto::Hasher hasher;
  std::string data(kReadBytes, '\0');
  ssize_t size = 0;
  while (same && (size = read(fd, data.data(), data.size())) > 0) {
    hasher.Update(std::string_view(data.data(), static_cast<size_t>(size)));
  }
  same = same && size == 0 && hasher.Finish() == hash;
  close(fd);
  return same;
}

absl::StatusOr<Download> DownloadResults(
    Client& client, uint64_t job_id, const std::string& folder,
    const std::function<void(uint64_t done, uint64_t total)>& progress) {
  ASSIGN_OR_RETURN(const std::vector<Wanted> wanted, WantedFiles(client, job_id, folder));
  uint64_t total = 0;
  for (const Wanted& file : wanted) total += file.size_bytes;
  std::atomic<size_t> next = 0;
  std::atomic<int64_t> here = 0;
  const auto count = [&](int64_t bytes) { progress(static_cast<uint64_t>(here += bytes), total); };
  std::mutex mutex;
  absl::Status first_error;
  Download download;
  const auto work = [&] {
    for (size_t i = next++; i < wanted.size(); i = next++) {
      const bool kept = FileHas(wanted[i].path, wanted[i].hash, wanted[i].size_bytes);
      if (kept) count(static_cast<int64_t>(wanted[i].size_bytes));
      const absl::Status status = kept ? absl::OkStatus() : Fetch(client, wanted[i], count);
      const std::lock_guard lock(mutex);
      if (first_error.ok()) first_error = status;
      if (!first_error.ok()) return;
      ++download.files;
      download.bytes += wanted[i].size_bytes;
      download.kept += kept ? 1 : 0;
    }
  };
  {
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < std::min(kThreads, wanted.size()); ++i) threads.emplace_back(work);
  }
  RETURN_IF_ERROR(first_error);
  return download;
}

}  // namespace corpgrid::cli
