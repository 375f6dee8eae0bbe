#include "sandbox/bubblewrap.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <initializer_list>
#include <system_error>

#include "platform/file.h"

namespace corpgrid::sandbox {
namespace {

using Arguments = std::vector<std::string>;

void Add(Arguments& to, std::initializer_list<std::string> words) {
  to.insert(to.end(), words.begin(), words.end());
}

// /bin, /lib and their like: links into /usr on most systems, folders on some.
void AddTopLevel(Arguments& arguments) {
  for (const char* path : {"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"}) {
    struct stat status;
    if (lstat(path, &status) != 0) continue;
    if (S_ISLNK(status.st_mode)) {
      std::error_code error;
      std::string target = std::filesystem::read_symlink(path, error);
      if (!error) Add(arguments, {"--symlink", target, path});
    } else {
      Add(arguments, {"--ro-bind", path, path});
    }
  }
}

// What programs of /usr need of /etc to work, none of it about this machine or its users.
void AddEtc(Arguments& arguments, bool network) {
  Add(arguments, {"--ro-bind-try", "/etc/alternatives", "/etc/alternatives"});
  Add(arguments, {"--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"});
  Add(arguments, {"--ro-bind-try", "/etc/fonts", "/etc/fonts"});
  std::error_code error;
  for (std::filesystem::directory_iterator it("/etc", error), end; !error && it != end;
       it.increment(error)) {
    std::string name = it->path().filename();
    if (name.starts_with("java-")) Add(arguments, {"--ro-bind", it->path(), it->path()});
  }
  if (network) {
    Add(arguments, {"--ro-bind-try", "/etc/resolv.conf", "/etc/resolv.conf"});
    Add(arguments, {"--ro-bind-try", "/etc/ssl/certs", "/etc/ssl/certs"});
  }
}

}  // namespace

absl::StatusOr<std::string> FindBubblewrap() {
  for (const char* path : {"/usr/bin/bwrap", "/usr/local/bin/bwrap"}) {
    if (access(path, X_OK) == 0) return std::string(path);
  }
  return absl::FailedPreconditionError(
      "bubblewrap (/usr/bin/bwrap) is not installed: run apt-get install bubblewrap");
}

std::vector<std::string> BubblewrapCommand(const std::string& bubblewrap, const View& view,
                                           const std::vector<std::string>& argv) {
  Arguments arguments = {bubblewrap,      "--unshare-user",      "--unshare-pid", "--as-pid-1",
                         "--unshare-ipc", "--unshare-uts",       "--hostname",    "corpgrid",
                         "--new-session", "--unshare-cgroup-try"};
  if (!view.network) Add(arguments, {"--unshare-net"});
  // Not --dev: it makes bubblewrap stack a second user namespace, and these no longer cover the
  // sandbox's mounts.
  Add(arguments, {"--cap-add", "CAP_SYS_ADMIN", "--cap-add", "CAP_SETPCAP"});
  Add(arguments, {"--ro-bind", "/usr", "/usr"});
  AddTopLevel(arguments);
  Add(arguments, {"--proc", "/proc", "--perms", "0755", "--dir", "/dev"});
  for (const char* node : {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}) {
    Add(arguments, {"--dev-bind", node, node});
  }
  Add(arguments, {"--symlink", "/proc/self/fd", "/dev/fd"});
  Add(arguments, {"--symlink", "/proc/self/fd/0", "/dev/stdin"});
  Add(arguments, {"--symlink", "/proc/self/fd/1", "/dev/stdout"});
  Add(arguments, {"--symlink", "/proc/self/fd/2", "/dev/stderr"});
  for (const char* folder : {"/etc", "/work", "/tmp", "/dev/shm", "/var", "/run"}) {
    Add(arguments, {"--perms", "0755", "--dir", folder});
  }
  Add(arguments, {"--symlink", "/tmp", "/var/tmp"});
  AddEtc(arguments, view.network);
  if (!view.program.empty()) Add(arguments, {"--ro-bind", view.program, kProgramPath});
  if (!view.bundle_dir.empty()) Add(arguments, {"--ro-bind", view.bundle_dir, "/bundle"});
  if (!view.input_dir.empty()) Add(arguments, {"--ro-bind", view.input_dir, "/input"});
  Add(arguments, {"--chdir", "/", "--"});
  arguments.insert(arguments.end(), argv.begin(), argv.end());
  return arguments;
}

std::string Diagnose(const std::string& proc_sys, const std::string& complaint) {
  auto is = [&](const char* name, const char* value) {
    return platform::ReadSmallFile(proc_sys + "/" + name).value_or("") == value;
  };
  std::string advice;
  if (is("user/max_user_namespaces", "0")) {
    advice = "; user namespaces are off: sysctl user.max_user_namespaces=10000";
  } else if (is("kernel/unprivileged_userns_clone", "0")) {
    advice = "; users may make no user namespaces: sysctl kernel.unprivileged_userns_clone=1";
  } else if (is("kernel/apparmor_restrict_unprivileged_userns", "1")) {
    advice =
        "; AppArmor restricts user namespaces: install a profile for /usr/bin/bwrap that has the "
        "rule 'userns,', or sysctl kernel.apparmor_restrict_unprivileged_userns=0";
  } else if (is("user/max_pid_namespaces", "0") || is("user/max_mnt_namespaces", "0") ||
             is("user/max_net_namespaces", "0") || is("user/max_ipc_namespaces", "0")) {
    advice = "; a kind of namespaces is off: see sysctl -a -r 'user.max_.*_namespaces'";
  }
  return fmt::format("bubblewrap cannot make a sandbox here ({}){}",
                     complaint.empty() ? "it said nothing" : complaint, advice);
}

}  // namespace corpgrid::sandbox
