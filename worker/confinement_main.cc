#include <seccomp.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <initializer_list>
#include <system_error>

#include "base/status_macros.h"
#include "inference/llama/library.h"
#include "platform/confine.h"
#include "worker/confinement.h"

namespace corpgrid::worker {

bool ForbidNetwork() {
  scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
  bool fine = filter != nullptr;
  for (const int family : {AF_INET, AF_INET6, AF_PACKET}) {
    fine = fine && seccomp_rule_add(filter, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1,
                                    SCMP_A0(SCMP_CMP_EQ, static_cast<scmp_datum_t>(family))) == 0;
  }
  fine = fine && seccomp_load(filter) == 0;
  seccomp_release(filter);
  return fine;
}

absl::Status ConfineFiles(const std::vector<std::string>& read,
                          const std::vector<std::string>& write) {
  platform::Reach reach{.read = {"/usr", "/lib", "/lib64", "/etc/vulkan", "/proc", "/sys",
                                 inference::LibraryFolder()},
                        .write = {"/dev/null", "/dev/shm", "/dev/dri", "/dev/kfd"}};
  reach.read.insert(reach.read.end(), read.begin(), read.end());
  reach.write.insert(reach.write.end(), write.begin(), write.end());
  std::error_code none;
  for (const auto& device : std::filesystem::directory_iterator("/dev", none)) {
    if (device.path().filename().string().starts_with("nvidia")) {
      reach.write.push_back(device.path().string());
    }
  }
  ASSIGN_OR_RETURN(const bool confined, platform::ConfineFiles(reach));
  if (!confined) std::fprintf(stderr, "this kernel has no Landlock: files are not out of reach\n");
  return absl::OkStatus();
}

}  // namespace corpgrid::worker
