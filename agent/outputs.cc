#include "agent/outputs.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/status_macros.h"
#include "base/text.h"

namespace corpgrid::agent {
namespace {

constexpr size_t kCopyBytes = 256 << 10;

// Whether a failed open is of the job's making, so that every device would see the same.
bool IsTheJobs(int error) {
  return error == ENOENT || error == ENOTDIR || error == ELOOP || error == EXDEV ||
         error == ENXIO || error == EACCES || error == ENAMETOOLONG;
}

// Copies up to `limit_bytes` of `from` into `output`; false when there is more.
absl::StatusOr<bool> Copy(int from, uint64_t limit_bytes, const std::string& spool_path,
                          CollectedOutput* output) {
  if (output->is_large) {
    output->file = UniqueFd(
        open(spool_path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!output->file.ok()) return DeviceError(spool_path, "make");
  }
  crypto::Hasher hasher;
  uint64_t offset = 0;
  while (true) {
    ASSIGN_OR_RETURN(std::string data, ReadAt(from, offset, kCopyBytes));
    if (data.empty()) break;
    offset += data.size();
    if (offset > limit_bytes) return false;
    hasher.Update(data);
    if (output->in_memory()) {
      output->data.append(data);
    } else {
      RETURN_IF_ERROR(WriteAll(output->file.get(), data));
    }
  }
  output->output.hash = hasher.Finish();
  output->output.size_bytes = offset;
  return true;
}

Collection Missing(const std::string& name, std::string_view why) {
  return {job::Outcome::kOutputMissing, fmt::format("output \"{}\" {}", name, why), {}};
}

Collection TooLarge(uint64_t limit_bytes, const std::string& name) {
  return {job::Outcome::kOutputLimit,
          fmt::format("with \"{}\" the outputs are larger than limits.output, {}", name,
                      FormatBytes(limit_bytes)),
          {}};
}

}  // namespace

absl::StatusOr<Collection> CollectOutputs(int work_fd, std::span<const std::string> names,
                                          uint64_t limit_bytes, const std::string& spool_path) {
  Collection collection;
  uint64_t left_bytes = limit_bytes;
  uint64_t memory_bytes = kMaxInMemoryBytes;
  int large = 0;
  for (const std::string& name : names) {
    const UniqueFd file(OpenBeneath(work_fd, name, 0));
    if (!file.ok()) {
      if (!IsTheJobs(errno)) return DeviceError(name, "open the output");
      return Missing(name, fmt::format("cannot be opened: {}", std::strerror(errno)));
    }
    struct stat info{};
    if (fstat(file.get(), &info) != 0) return DeviceError(name, "look at the output");
    if (!S_ISREG(info.st_mode)) return Missing(name, "is no regular file");
    const auto size_bytes = static_cast<uint64_t>(info.st_size);
    if (size_bytes > left_bytes) return TooLarge(limit_bytes, name);

    CollectedOutput output;
    output.output.name = name;
    output.is_large = size_bytes > memory_bytes;
    ASSIGN_OR_RETURN(const bool whole, Copy(file.get(), output.is_large ? left_bytes : size_bytes,
                                            fmt::format("{}{}", spool_path, large), &output));
    large += output.is_large;
    if (!whole) return TooLarge(limit_bytes, name);
    left_bytes -= output.output.size_bytes;
    if (output.in_memory()) memory_bytes -= output.output.size_bytes;
    collection.outputs.push_back(std::move(output));
  }
  return collection;
}

}  // namespace corpgrid::agent
