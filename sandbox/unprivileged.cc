#include "sandbox/unprivileged.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <memory>
#include <system_error>

#include "base/status_macros.h"
#include "platform/file.h"

namespace corpgrid::sandbox {
namespace {

// systemd's range for users that exist only while a service runs.
constexpr uint32_t kFirstUser = 61184, kLastUser = 65519;

struct User {
  uid_t uid;
  gid_t gid;
};

absl::Status Refused(const std::string& what, int error) {
  return absl::FailedPreconditionError(
      fmt::format("{}: {}", what, std::generic_category().message(error)));
}

bool BelongsToNobody(uint32_t number) {
  return getpwuid(number) == nullptr && getgrgid(number) == nullptr;
}

// A folder that already has such a user keeps it, so that what is in it stays readable.
absl::StatusOr<User> ChooseUser(const std::string& path, uid_t owner) {
  if (const passwd* own = getpwnam("corpgrid")) return User{own->pw_uid, own->pw_gid};
  if (owner >= kFirstUser && owner <= kLastUser && BelongsToNobody(owner)) {
    return User{owner, owner};
  }
  constexpr uint32_t kCount = kLastUser - kFirstUser + 1;
  uint32_t hash = 2166136261;  // FNV-1a: the same on every machine
  for (unsigned char c : path) hash = (hash ^ c) * 16777619;
  for (uint32_t i = 0; i < kCount; ++i) {
    uint32_t number = kFirstUser + (hash + i) % kCount;
    if (BelongsToNobody(number)) return User{number, number};
  }
  return absl::FailedPreconditionError(fmt::format(
      "every user id of {}-{} is taken: add a user named corpgrid", kFirstUser, kLastUser));
}

absl::Status Become(const User& user) {
  // The kernel forgets the parent-death signal when credentials change.
  int death_signal = 0;
  pid_t parent = getppid();
  prctl(PR_GET_PDEATHSIG, &death_signal);

  if (setgroups(0, nullptr) != 0) return Refused("setgroups", errno);
  if (setresgid(user.gid, user.gid, user.gid) != 0) return Refused("setresgid", errno);
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  if (setresuid(user.uid, user.uid, user.uid) != 0) return Refused("setresuid", errno);
  if (setuid(0) == 0 || seteuid(0) == 0) {
    return absl::FailedPreconditionError("this process could become root again");
  }
  if (death_signal != 0) {
    prctl(PR_SET_PDEATHSIG, death_signal);
    if (getppid() != parent) raise(death_signal);
  }
  return absl::OkStatus();
}

// OK when we may use `path`; else names the first folder of it that stops us.
absl::Status CheckWay(const std::string& path) {
  for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    std::string part = path.substr(0, end);
    bool last = end == std::string::npos;
    if (access(part.c_str(), last ? R_OK | W_OK | X_OK : X_OK) != 0) {
      return absl::FailedPreconditionError(fmt::format(
          "{} lets user {} not in ({}): choose another folder for the data, or chmod o+x {}", part,
          geteuid(), std::generic_category().message(errno), part));
    }
    if (last) return absl::OkStatus();
  }
}

}  // namespace

absl::StatusOr<uint32_t> BecomeUnprivileged(const std::string& folder) {
  if (geteuid() != 0 && getuid() != 0) return geteuid();

  if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return Refused(folder, errno);
  platform::Fd fd(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat status;
  if (!fd || fstat(fd.get(), &status) != 0) return Refused(folder, errno);
  std::unique_ptr<char, void (*)(void*)> path(realpath(folder.c_str(), nullptr), free);
  if (!path) return Refused(folder, errno);

  ASSIGN_OR_RETURN(User user, ChooseUser(path.get(), status.st_uid));
  if (fchown(fd.get(), user.uid, user.gid) != 0 || fchmod(fd.get(), 0700) != 0) {
    return Refused(folder, errno);
  }
  RETURN_IF_ERROR(Become(user));
  RETURN_IF_ERROR(CheckWay(path.get()));
  return user.uid;
}

}  // namespace corpgrid::sandbox
