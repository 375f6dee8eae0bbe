#include "runner/inside/setup.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "runner/inside/system.h"

namespace corpgrid::runner::inside {
namespace {

void WriteFile(const char* path, const std::string& text, int flags) {
  int fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0644);
  if (fd < 0 || write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size())) Die(path);
  close(fd);
}

void Limit(int resource, rlim_t most) {
  rlimit limit;
  Require(getrlimit(static_cast<__rlimit_resource>(resource), &limit) == 0, "getrlimit");
  limit.rlim_max = std::min(limit.rlim_max, most);
  limit.rlim_cur = limit.rlim_max;
  Require(setrlimit(static_cast<__rlimit_resource>(resource), &limit) == 0, "setrlimit");
}

}  // namespace

void Harden() {
  // Before we are not dumpable: from then on our files in /proc are root's.
  WriteFile("/proc/self/oom_score_adj", "1000", 0);
  Require(prctl(PR_SET_DUMPABLE, 0) == 0, "PR_SET_DUMPABLE");
  Require(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0, "PR_SET_PDEATHSIG");
  Require(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "PR_SET_NO_NEW_PRIVS");
  umask(022);
}

void FinishRoot() {
  const std::string user = std::to_string(getuid()), group = std::to_string(getgid());
  WriteFile("/etc/passwd",
            "corpgrid:x:" + user + ":" + group + "::/work:/bin/sh\n" +
                "nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n",
            O_CREAT);
  WriteFile("/etc/group", "corpgrid:x:" + group + ":\nnogroup:x:65534:\n", O_CREAT);
  WriteFile("/etc/hosts", "127.0.0.1 localhost corpgrid\n::1 localhost corpgrid\n", O_CREAT);
  WriteFile("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n", O_CREAT);
  Require(mount(nullptr, "/", nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV,
                nullptr) == 0,
          "make / read-only");
}

void LimitResources(uint32_t processes) {
  constexpr rlim_t kOurs = 2;  // the runner and the init of the shard
  Limit(RLIMIT_NPROC, processes + kOurs);
  Limit(RLIMIT_NOFILE, 4096);
  Limit(RLIMIT_STACK, 64 << 20);
  rlimit stack = {8 << 20, 64 << 20};
  setrlimit(RLIMIT_STACK, &stack);
  // 1 and not 0: it also keeps the dump from a program that the host's core_pattern names.
  Limit(RLIMIT_CORE, 1);
}

void DropCapabilities() {
  for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; ++capability) {
    Require(prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0, "PR_CAPBSET_DROP");
  }
  Require(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) == 0, "PR_CAP_AMBIENT");
  Require(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
                                       SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
                                       SECBIT_NO_CAP_AMBIENT_RAISE |
                                       SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED) == 0,
          "PR_SET_SECUREBITS");
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[2] = {};
  sets[0].effective = sets[0].permitted = 1u << CAP_SYS_ADMIN;
  Require(syscall(SYS_capset, &header, sets) == 0, "capset");
}

}  // namespace corpgrid::runner::inside
