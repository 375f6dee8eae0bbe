#include "runner/inside/seccomp.h"

#include <linux/netlink.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <set>

#include "runner/inside/system.h"

namespace corpgrid::runner::inside {

// Nothing is copied for the init that it can share. Not CLONE_SIGHAND: a dying PID 1 sets SIGCHLD
// to ignored in the kernel, and sharing that the runner could wait for no shard any more.
const int kInitCloneFlags =
    CLONE_VM | CLONE_FILES | CLONE_FS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_PIDFD | SIGCHLD;

namespace {

constexpr uint64_t kNamespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                                 CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
constexpr uint64_t kLow32 = 0xffffffff;  // the kernel ignores what is above in an int

// Refused with EPERM. Most need capabilities that a shard has not; the filter keeps the code behind
// them out of its reach even if the kernel's check should fail.
constexpr const char* kDenied[] = {
    // other processes' memory and files
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd",
    "open_by_handle_at", "name_to_handle_at",
    // mounts and namespaces
    "mount", "umount", "umount2", "pivot_root", "chroot", "fsopen", "fsconfig", "fsmount", "fspick",
    "open_tree", "move_mount", "mount_setattr", "unshare", "setns",
    // keys: the keyrings of the user outlive the sandbox
    "add_key", "request_key", "keyctl",
    // large surfaces that computing needs not
    "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter",
    "io_uring_register", "fanotify_init", "fanotify_mark", "modify_ldt", "vm86", "vm86old",
    "lookup_dcookie", "uselib", "ustat", "sysfs", "_sysctl", "nfsservctl", "remap_file_pages",
    // memory that no watch can see
    "memfd_secret",
    // the machine
    "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module",
    "create_module", "query_module", "get_kernel_syms", "reboot", "swapon", "swapoff", "quotactl",
    "quotactl_fd", "acct", "syslog", "vhangup", "iopl", "ioperm", "settimeofday", "stime",
    "clock_settime", "clock_settime64", "clock_adjtime", "sethostname", "setdomainname",
    "move_pages", "migrate_pages"};

class Filter {
 public:
  explicit Filter(uint32_t action_otherwise) : context_(seccomp_init(action_otherwise)) {
    if (context_ == nullptr) Die("seccomp_init", ENOMEM);
    Check(seccomp_attr_set(context_, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS));
    Check(seccomp_attr_set(context_, SCMP_FLTATR_CTL_NNP, 1));
    Check(seccomp_attr_set(context_, SCMP_FLTATR_CTL_OPTIMIZE, 2));  // a tree
  }
  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;
  ~Filter() { seccomp_release(context_); }

  void Rule(uint32_t action, int call, std::initializer_list<scmp_arg_cmp> arguments = {}) {
    Check(seccomp_rule_add_array(context_, action, call, arguments.size(), arguments.begin()));
  }
  void Load() { Check(seccomp_load(context_)); }

 private:
  static void Check(int error) {
    if (error != 0) Die("seccomp", -error);
  }
  scmp_filter_ctx context_;
};

// Which calls there are. One that libseccomp does not know yet is refused with ENOSYS, as on an
// older kernel.
void LoadTable() {
  Filter filter(SCMP_ACT_ERRNO(ENOSYS));
  // clone3 takes its flags in memory, where no filter sees them; at ENOSYS libcs fall back to
  // clone.
  std::set<int> decided = {SCMP_SYS(clone3), SCMP_SYS(clone), SCMP_SYS(personality)};
  for (const char* name : kDenied) {
    int call = seccomp_syscall_resolve_name(name);
    if (call < 0) continue;  // this machine has no such call
    filter.Rule(SCMP_ACT_ERRNO(EPERM), call);
    decided.insert(call);
  }
  filter.Rule(SCMP_ACT_ALLOW, SCMP_SYS(clone), {SCMP_A0_64(SCMP_CMP_MASKED_EQ, kNamespaces, 0)});
  filter.Rule(SCMP_ACT_ALLOW, SCMP_SYS(clone),
              {SCMP_A0_64(SCMP_CMP_EQ, static_cast<uint64_t>(kInitCloneFlags), 0)});
  constexpr uint64_t kQuery = kLow32, kNoRandomAddresses = 0x0040000;
  for (uint64_t persona : {uint64_t{0}, kNoRandomAddresses, kQuery, ~uint64_t{0}}) {
    filter.Rule(SCMP_ACT_ALLOW, SCMP_SYS(personality), {SCMP_A0_64(SCMP_CMP_EQ, persona, 0)});
  }
  constexpr int kEndOfTable = 1024;
  for (int call = 0; call < kEndOfTable; ++call) {
    if (decided.contains(call)) continue;
    char* name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, call);
    if (name != nullptr) filter.Rule(SCMP_ACT_ALLOW, call);
    free(name);
  }
  filter.Load();
}

// What calls of the table may not be asked for. A filter of its own because of two the kernel takes
// the stricter answer, while within one the order of overlapping rules is libseccomp's affair.
void LoadArguments() {
  Filter filter(SCMP_ACT_ALLOW);
  constexpr uint32_t kNo = SCMP_ACT_ERRNO(EPERM);
  for (uint64_t flag : {CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWUSER, CLONE_NEWNET}) {
    filter.Rule(kNo, SCMP_SYS(clone), {SCMP_A0_64(SCMP_CMP_MASKED_EQ, flag, flag)});
  }
  // Typing into the terminal of whoever started us.
  constexpr uint64_t kTiocLinux = 0x541C;
  for (uint64_t request : {uint64_t{TIOCSTI}, kTiocLinux}) {
    filter.Rule(kNo, SCMP_SYS(ioctl), {SCMP_A1_64(SCMP_CMP_MASKED_EQ, kLow32, request)});
  }
  constexpr uint64_t kFamilies = 128;  // more than any kernel has
  for (uint64_t family = 0; family < kFamilies; ++family) {
    if (family == AF_UNIX || family == AF_INET || family == AF_INET6) continue;
    if (family == AF_NETLINK) continue;  // getaddrinfo() asks it for our addresses
    filter.Rule(SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket),
                {SCMP_A0_64(SCMP_CMP_MASKED_EQ, kLow32, family)});
  }
  constexpr uint64_t kLastNetlink = 31;
  for (uint64_t protocol = NETLINK_ROUTE + 1; protocol <= kLastNetlink; ++protocol) {
    filter.Rule(SCMP_ACT_ERRNO(EPROTONOSUPPORT), SCMP_SYS(socket),
                {SCMP_A0_64(SCMP_CMP_MASKED_EQ, kLow32, AF_NETLINK),
                 SCMP_A2_64(SCMP_CMP_MASKED_EQ, kLow32, protocol)});
  }
  filter.Load();
}

}  // namespace

void InstallFilter() {
  LoadTable();
  LoadArguments();
}

}  // namespace corpgrid::runner::inside
