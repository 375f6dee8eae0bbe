#include "runner/place.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "platform/file.h"

namespace corpgrid::runner {
namespace {

namespace fs = std::filesystem;

bool Copy(int from, int to) {
  struct stat info{};
  if (fstat(from, &info) != 0) return false;
  for (off_t left = info.st_size; left > 0;) {
    const ssize_t sent = sendfile(to, from, nullptr, static_cast<size_t>(left));
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    left -= sent;
  }
  return fchmod(to, 0755) == 0;
}

}  // namespace

absl::StatusOr<std::string> PlaceRunner(const std::string& runner, const std::string& folder) {
  const auto failed = [](const char* what, const std::string& path) {
    return absl::FailedPreconditionError(
        fmt::format("cannot {} {}: {}", what, path, std::strerror(errno)));
  };
  if (access(runner.c_str(), R_OK | X_OK) != 0) {
    return absl::FailedPreconditionError(fmt::format(
        "cannot run {}: {}; corpgrid-runner belongs beside corpgrid, for everyone to run", runner,
        std::strerror(errno)));
  }
  if (geteuid() != 0) return fs::absolute(runner).string();
  const std::string path = folder + "/corpgrid-runner";
  const std::string temporary = path + ".new";
  std::error_code error;
  // The folder may be its unprivileged owner's: whatever lies at these names is replaced, not used.
  fs::create_directories(folder, error);
  fs::remove_all(temporary, error);
  const platform::Fd from(open(runner.c_str(), O_RDONLY | O_CLOEXEC));
  const platform::Fd to(
      open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0755));
  if (!from || !to || !Copy(from.get(), to.get()) || rename(temporary.c_str(), path.c_str()) != 0) {
    return failed("copy the runner to", path);
  }
  return path;
}

}  // namespace corpgrid::runner
