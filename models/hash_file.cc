#include "models/hash_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "base/file.h"
#include "base/status_macros.h"
#include "models/sha256.h"

namespace corpgrid::models {
namespace {

constexpr size_t kPieceBytes = 1 << 20;

}  // namespace

absl::Status ReadAll(const std::string& path, const std::atomic<bool>* stop,
                     const std::function<absl::Status(std::string_view)>& on_bytes) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.ok()) return FileError(path, "open", errno);
  std::string buffer(kPieceBytes, '\0');
  for (;;) {
    if (stop != nullptr && *stop) return absl::CancelledError("stopped");
    const ssize_t size = read(fd.get(), buffer.data(), buffer.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return FileError(path, "read", errno);
    if (size == 0) return absl::OkStatus();
    RETURN_IF_ERROR(on_bytes({buffer.data(), static_cast<size_t>(size)}));
  }
}

absl::StatusOr<StoredFile> HashFile(const std::string& path, const std::atomic<bool>* stop,
                                    const std::function<void(uint64_t)>& on_read) {
  Sha256 hash;
  StoredFile file = {.name = path.substr(path.find_last_of('/') + 1), .bytes = 0, .sha256 = {}};
  RETURN_IF_ERROR(ReadAll(path, stop, [&](std::string_view bytes) {
    hash.Add(bytes);
    file.bytes += bytes.size();
    on_read(bytes.size());
    return absl::OkStatus();
  }));
  file.sha256 = hash.Digits();
  return file;
}

}  // namespace corpgrid::models
