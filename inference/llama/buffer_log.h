#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace corpgrid::inference {

// X of "… LABEL  X MiB …", in bytes; nothing where the line does not have that form.
std::optional<uint64_t> BytesAfter(std::string_view line, std::string_view label);

// What the lines of the library's log tell of buffers of a kind ("model", "compute", "output"):
// "load_tensors: Vulkan0 model buffer size = 86.62 MiB".
struct Buffers {
  uint64_t bytes = 0;
  uint64_t gpu_bytes = 0;  // of them, those of the GPU; none where it has no name
};
Buffers ReadBuffers(const std::vector<std::string>& lines, std::string_view kind,
                    const std::string& gpu);

}  // namespace corpgrid::inference
