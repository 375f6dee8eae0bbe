#include "scheduler/frames.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstdint>

#include "base/status_macros.h"
#include "fmt/format.h"

namespace corpgrid::scheduler {
namespace {

absl::Status Gone() { return absl::UnavailableError("the other process has ended"); }

absl::Status SendAll(int socket, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return Gone();
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return absl::OkStatus();
}

absl::Status ReceiveAll(int socket, char* bytes, size_t size) {
  while (size > 0) {
    const ssize_t got = recv(socket, bytes, size, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return Gone();
    bytes += got;
    size -= static_cast<size_t>(got);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status WriteFrame(int socket, std::string_view bytes) {
  const uint64_t size = bytes.size();
  RETURN_IF_ERROR(SendAll(socket, {reinterpret_cast<const char*>(&size), sizeof size}));
  return SendAll(socket, bytes);
}

absl::StatusOr<std::string> ReadFrame(int socket) {
  uint64_t size = 0;
  RETURN_IF_ERROR(ReceiveAll(socket, reinterpret_cast<char*>(&size), sizeof size));
  if (size > kMaxFrameBytes) {
    return absl::InvalidArgumentError(fmt::format("a frame of {} bytes", size));
  }
  std::string bytes(size, '\0');
  RETURN_IF_ERROR(ReceiveAll(socket, bytes.data(), bytes.size()));
  return bytes;
}

}  // namespace corpgrid::scheduler
