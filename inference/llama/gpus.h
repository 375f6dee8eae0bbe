#pragma once

#include <vector>

#include "inference/gpu.h"

namespace corpgrid::inference {

// Those of this machine, with what is free now. Those that share the processors' memory are left to
// the screen. PrepareLibrary() first, with UseGpus() before it. Any thread.
std::vector<Gpu> ListGpus();

}  // namespace corpgrid::inference
