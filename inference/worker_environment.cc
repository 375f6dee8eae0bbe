#include "inference/worker_environment.h"

#include <cstdlib>

#include "fmt/format.h"

namespace corpgrid::inference {

std::vector<std::string> WorkerEnvironment() {
  std::vector<std::string> environment = {"PATH=/usr/bin:/bin", "GGML_NO_BACKTRACE=1"};
  for (const char* name :
       {"OMP_WAIT_POLICY", "CUDA_VISIBLE_DEVICES", "GGML_VK_VISIBLE_DEVICES", "VK_DRIVER_FILES"}) {
    if (const char* value = std::getenv(name)) {
      environment.push_back(fmt::format("{}={}", name, value));
    }
  }
  return environment;
}

}  // namespace corpgrid::inference
