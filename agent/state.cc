#include "agent/state.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "base/status_macros.h"
#include "base/text.h"
#include "objects/bundle.h"

namespace corpgrid::agent {
namespace {

constexpr size_t kReadBytes = 256 << 10;
constexpr uint64_t kMaxEntries = 100'000;

// What a job made so that it cannot be packed.
absl::Status OfTheJob(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kAborted:
      return absl::InvalidArgumentError(status.message());
    default:
      return OwnError(status);
  }
}

}  // namespace

absl::StatusOr<std::optional<SavedState>> PackState(int work_fd, const std::string& name,
                                                    uint64_t limit_bytes,
                                                    const std::string& spool_folder) {
  const UniqueFd folder(OpenBeneath(work_fd, name, O_DIRECTORY));
  if (!folder.ok() && errno == ENOENT) return std::nullopt;
  if (!folder.ok()) {
    return absl::InvalidArgumentError(
        fmt::format("{} cannot be opened as a folder: {}", name, std::strerror(errno)));
  }
  SavedState state;
  ASSIGN_OR_RETURN(state.file, TemporaryFile(spool_folder));
  crypto::Hasher hasher;
  absl::Status written;  // apart from what packing finds wrong
  const objects::Sink sink = [&](std::string_view data) {
    state.size_bytes += data.size();
    if (state.size_bytes > limit_bytes) {
      return absl::InvalidArgumentError(
          fmt::format("{} is larger than limits.disk, {}", name, FormatBytes(limit_bytes)));
    }
    hasher.Update(data);
    written = WriteAll(state.file.get(), data);
    return written;
  };
  const absl::Status packed = objects::PackUntrusted(folder.get(), name, sink);
  RETURN_IF_ERROR(written);
  RETURN_IF_ERROR(OfTheJob(packed));
  state.hash = hasher.Finish();
  return state;
}

absl::Status UnpackState(int file, int work_fd, const std::string& name, uint64_t limit_bytes) {
  if (mkdirat(work_fd, name.c_str(), 0755) != 0) return DeviceError(name, "make the folder");
  // By way of the descriptor: what it is of has no name here.
  const std::string path = fmt::format("/proc/self/fd/{}/{}", work_fd, name);
  uint64_t offset = 0;
  const objects::Source source = [&]() -> absl::StatusOr<std::string> {
    ASSIGN_OR_RETURN(std::string data, ReadAt(file, offset, kReadBytes));
    offset += data.size();
    return data;
  };
  objects::UnpackLimits limits;
  limits.bytes = limit_bytes;
  limits.entries = kMaxEntries;
  return OwnError(objects::UnpackBundle(source, path, limits));
}

}  // namespace corpgrid::agent
