#pragma once

#include <cstdint>
#include <string>

namespace corpgrid::inference {

// A GPU with memory of its own that the library can compute on.
struct Gpu {
  std::string name;     // as the library calls it, "Vulkan0"
  std::string backend;  // "vulkan"
  std::string description;
  uint64_t total_bytes = 0;  // of its memory
  uint64_t free_bytes = 0;   // that no program has
};

}  // namespace corpgrid::inference
