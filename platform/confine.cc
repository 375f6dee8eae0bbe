#include "platform/confine.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "base/status_macros.h"
#include "platform/file.h"

namespace corpgrid::platform {
namespace {

constexpr uint64_t kTruncate = 1ull << 14;  // younger than Debian 12's headers
constexpr uint64_t kOfFiles =
    LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | kTruncate;
constexpr uint64_t kRead = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;

int64_t CreateRuleset(const landlock_ruleset_attr* attributes, size_t size, uint32_t flags) {
  return syscall(SYS_landlock_create_ruleset, attributes, size, flags);
}

// All that can be forbidden by a kernel of this version of Landlock.
uint64_t AllOf(int64_t version) {
  uint64_t all = LANDLOCK_ACCESS_FS_MAKE_SYM * 2 - 1;
  if (version >= 2) all |= LANDLOCK_ACCESS_FS_REFER;
  if (version >= 3) all |= kTruncate;
  return all;
}

absl::Status Allow(int ruleset, const std::string& path, uint64_t access) {
  const Fd beneath(open(path.c_str(), O_PATH | O_CLOEXEC));
  struct stat status;
  if (!beneath || fstat(beneath.get(), &status) != 0) return absl::OkStatus();  // it is not there
  landlock_path_beneath_attr rule{};
  rule.allowed_access = S_ISDIR(status.st_mode) ? access : access & kOfFiles;
  rule.parent_fd = beneath.get();
  if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0) {
    return absl::OkStatus();
  }
  return SystemError("landlock_add_rule for " + path, errno);
}

}  // namespace

absl::StatusOr<bool> ConfineFiles(const Reach& reach) {
  const int64_t version = CreateRuleset(nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (version < 1) return false;
  landlock_ruleset_attr attributes{};
  attributes.handled_access_fs = AllOf(version);
  const Fd ruleset(static_cast<int>(CreateRuleset(&attributes, sizeof attributes, 0)));
  if (!ruleset) return SystemError("landlock_create_ruleset", errno);
  const uint64_t write = AllOf(version) & ~uint64_t{LANDLOCK_ACCESS_FS_EXECUTE};
  for (const std::string& path : reach.read) RETURN_IF_ERROR(Allow(ruleset.get(), path, kRead));
  for (const std::string& path : reach.write) RETURN_IF_ERROR(Allow(ruleset.get(), path, write));
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return SystemError("no_new_privs", errno);
  if (syscall(SYS_landlock_restrict_self, ruleset.get(), 0) != 0) {
    return SystemError("landlock_restrict_self", errno);
  }
  return true;
}

absl::Status ConfineSockets() {
  const std::unique_ptr<void, void (*)(void*)> filter(seccomp_init(SCMP_ACT_ALLOW),
                                                      seccomp_release);
  if (!filter) return absl::UnavailableError("seccomp has no memory");
  constexpr scmp_datum_t kTypeBits = 0xf;
  const struct {
    int call;
    int error;
    std::vector<scmp_arg_cmp> when;
  } refusals[] = {
      {SCMP_SYS(socket), EAFNOSUPPORT, {SCMP_CMP(0, SCMP_CMP_NE, AF_UNIX, 0)}},
      {SCMP_SYS(socket), EPERM, {SCMP_CMP(1, SCMP_CMP_MASKED_EQ, kTypeBits, SOCK_DGRAM)}},
      {SCMP_SYS(connect), EPERM, {}},
      {SCMP_SYS(io_uring_setup), ENOSYS, {}}};
  for (const auto& [call, error, when] : refusals) {
    const int failed = seccomp_rule_add_array(filter.get(), SCMP_ACT_ERRNO(error), call,
                                              static_cast<unsigned>(when.size()), when.data());
    if (failed != 0) return SystemError("seccomp_rule_add", -failed);
  }
  const int failed = seccomp_load(filter.get());
  return failed == 0 ? absl::OkStatus() : SystemError("seccomp_load", -failed);
}

}  // namespace corpgrid::platform
