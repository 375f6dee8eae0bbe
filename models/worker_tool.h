#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "inference/facts_json.h"

namespace corpgrid::models {

// How to run corpgrid-worker on a file that nobody vouches for: the libraries that read it end
// their process when they are not content, so that has to be another one.
struct WorkerProgram {
  std::string path;                         // of corpgrid-worker
  const std::atomic<bool>* stop = nullptr;  // ends it when true; must outlive the call
  int64_t timeout_ms = 0;                   // 0: none
};

// Runs `corpgrid-worker ARGUMENTS` and returns its result; `on_progress` hears of 0..1 on the way.
// Errors: the tool's own; Internal with its last words when it crashed or made no sense,
// DeadlineExceeded, Cancelled; NotFound when there is no such program.
absl::StatusOr<inference::Json> RunWorkerTool(
    const WorkerProgram& program, const std::vector<std::string>& arguments,
    const std::function<void(double fraction)>& on_progress = nullptr);

// Facts and verdict of a GGUF file. `try_it`: computes a token where there is memory for that.
// Errors: as RunWorkerTool(); InvalidArgument for what is no GGUF file.
absl::StatusOr<inference::Inspection> InspectFile(const WorkerProgram& program,
                                                  const std::string& file, bool try_it);

// The memory that a worker would need for it. Errors: as RunWorkerTool().
absl::StatusOr<inference::MemoryEstimate> EstimateFile(const WorkerProgram& program,
                                                       const std::string& file, uint32_t context,
                                                       uint32_t sequences);

// The GPUs that workers of this program can host models on, with what is free of their memory now.
// Drivers are given 10 s. Errors: as RunWorkerTool().
absl::StatusOr<std::vector<inference::Gpu>> ListGpus(const std::string& worker_path);

}  // namespace corpgrid::models
