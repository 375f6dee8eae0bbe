#pragma once

#include <string>
#include <vector>

namespace corpgrid::inference {

// What a corpgrid-worker is started with: of ours, what chooses GPUs and how threads wait.
std::vector<std::string> WorkerEnvironment();

}  // namespace corpgrid::inference
