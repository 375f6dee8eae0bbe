#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "base/status_macros.h"
#include "platform/file.h"
#include "platform/process.h"
#include "sandbox/bubblewrap.h"
#include "sandbox/unprivileged.h"

namespace corpgrid::sandbox {

absl::Status CheckSandbox() {
  ASSIGN_OR_RETURN(std::string bubblewrap, FindBubblewrap());
  std::vector<std::string> command = BubblewrapCommand(bubblewrap, View{}, {"/usr/bin/true"});
  if (geteuid() == 0) {
    // What root may do says nothing about the user that sandboxes will run as.
    std::vector<std::string> as_nobody = {"/usr/bin/setpriv", "--reuid=65534", "--regid=65534",
                                          "--clear-groups", "--"};
    command.insert(command.begin(), as_nobody.begin(), as_nobody.end());
  }
  platform::Fd complaint(memfd_create("corpgrid-check", MFD_CLOEXEC));
  if (!complaint) return platform::SystemError("memfd_create", errno);
  auto probe = platform::Process::Start({.argv = command, .fds = {{complaint.get(), 2}}});
  RETURN_IF_ERROR(probe.status());
  if (probe->Wait(10'000) == 0) return absl::OkStatus();

  char text[512];
  ssize_t n = pread(complaint.get(), text, sizeof text, 0);
  while (n > 0 && text[n - 1] == '\n') --n;
  return absl::FailedPreconditionError(
      Diagnose("/proc/sys", n > 0 ? std::string(text, n) : std::string()));
}

}  // namespace corpgrid::sandbox
