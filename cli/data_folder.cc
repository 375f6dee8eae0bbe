#include "cli/data_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "fmt/format.h"

namespace corpgrid::cli {
namespace {

std::string LockPath(const std::string& data_folder) { return data_folder + "/up.lock"; }

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

std::string DefaultDataFolder() {
  if (const std::string folder = Environment("CORPGRID_DATA"); !folder.empty()) {
    return AbsoluteFolder(folder);
  }
  if (geteuid() == 0) return "/var/lib/corpgrid";
  if (const std::string folder = Environment("XDG_DATA_HOME"); !folder.empty()) {
    return AbsoluteFolder(folder + "/corpgrid");
  }
  return AbsoluteFolder(Environment("HOME") + "/.local/share/corpgrid");
}

std::string AbsoluteFolder(const std::string& folder) {
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(folder, error);
  std::string text = (error ? std::filesystem::path(folder) : absolute).lexically_normal().string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

std::string SubmitterKeyPath(const std::string& data_folder) {
  return data_folder + "/submitter.key";
}

std::string ApiKeysPath(const std::string& data_folder) { return data_folder + "/api-keys.json"; }

absl::StatusOr<UpLock> UpLock::Take(const std::string& data_folder) {
  const std::string path = LockPath(data_folder);
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) {
    return absl::PermissionDeniedError(
        fmt::format("cannot write to {}: {}", path, std::strerror(errno)));
  }
  UpLock lock(fd);
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    return absl::AlreadyExistsError(fmt::format(
        "a grid already runs in {} (corpgrid up, process {})", data_folder, UpPid(data_folder)));
  }
  const std::string pid = fmt::format("{}\n", getpid());
  if (ftruncate(fd, 0) != 0 || write(fd, pid.data(), pid.size()) != ssize_t(pid.size())) {
    return absl::ResourceExhaustedError(
        fmt::format("cannot write to {}: {}", path, std::strerror(errno)));
  }
  return lock;
}

UpLock::~UpLock() {
  if (fd_ >= 0) close(fd_);
}

pid_t UpPid(const std::string& data_folder) {
  const int fd = open(LockPath(data_folder).c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  const bool held = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  char text[32] = {};
  const ssize_t size = held ? pread(fd, text, sizeof(text) - 1, 0) : 0;
  close(fd);
  return size > 0 ? static_cast<pid_t>(std::strtol(text, nullptr, 10)) : 0;
}

}  // namespace corpgrid::cli
