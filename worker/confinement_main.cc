#include <cstdio>
#include <filesystem>
#include <system_error>

#include "base/status_macros.h"
#include "inference/llama/library.h"
#include "platform/confine.h"
#include "worker/confinement.h"

namespace corpgrid::worker {

absl::Status ConfineFiles(const std::vector<std::string>& read,
                          const std::vector<std::string>& write) {
  platform::Reach reach{
      .read = {"/usr", "/lib", "/lib64", "/proc", "/sys", inference::LibraryFolder()},
      .write = {"/dev/null", "/dev/shm"}};
  reach.read.insert(reach.read.end(), read.begin(), read.end());
  reach.write.insert(reach.write.end(), write.begin(), write.end());
  ASSIGN_OR_RETURN(const bool confined, platform::ConfineFiles(reach));
  if (!confined) std::fprintf(stderr, "this kernel has no Landlock: files are not out of reach\n");
  return absl::OkStatus();
}

std::vector<std::string> GpuFiles() {
  std::vector<std::string> files = {"/dev/dri", "/dev/kfd"};
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/dev", error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("nvidia")) files.push_back(entry.path().string());
  }
  return files;
}

}  // namespace corpgrid::worker
