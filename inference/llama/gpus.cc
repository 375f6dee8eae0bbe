#include "inference/llama/gpus.h"

#include <ggml-backend.h>

#include <algorithm>
#include <cctype>

namespace corpgrid::inference {

std::vector<Gpu> ListGpus() {
  std::vector<Gpu> gpus;
  for (size_t i = 0; i < ggml_backend_dev_count(); ++i) {
    ggml_backend_dev_t device = ggml_backend_dev_get(i);
    if (ggml_backend_dev_type(device) != GGML_BACKEND_DEVICE_TYPE_GPU) continue;
    Gpu gpu{.name = ggml_backend_dev_name(device),
            .backend = ggml_backend_reg_name(ggml_backend_dev_backend_reg(device)),
            .description = ggml_backend_dev_description(device)};
    std::transform(gpu.backend.begin(), gpu.backend.end(), gpu.backend.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    size_t free_bytes = 0, total_bytes = 0;
    ggml_backend_dev_memory(device, &free_bytes, &total_bytes);
    gpu.free_bytes = std::min(free_bytes, total_bytes);
    gpu.total_bytes = total_bytes;
    gpus.push_back(std::move(gpu));
  }
  return gpus;
}

}  // namespace corpgrid::inference
