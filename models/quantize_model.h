#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "models/model_store.h"
#include "models/worker_tool.h"

namespace corpgrid::models {

// What is being done, and how far it is, 0..1.
using OnWork = std::function<void(std::string_view what, double fraction)>;

// "llama-Q4_K_M" of "llama" or "llama-F16".
std::string NameWithType(const StoredModel& model, const std::string& type);

// Writes a model of the store anew with weights of another type, as another model. Errors: those of
// ModelStore::Stage() and RunWorkerTool(); InvalidArgument that lists the types;
// ResourceExhausted when the disk is full.
absl::StatusOr<StoredModel> QuantiseModel(ModelStore* store, const StoredModel& model,
                                          const std::string& type, const std::string& name,
                                          const WorkerProgram& worker, const OnWork& on_work,
                                          const Clock& clock);

// A file of the model with weights of another type, in `folder`: made where it is not there yet,
// instead of those of its other types. Files there of models that the store has no more go. One
// caller a folder at a time. Errors: those of FileError() and RunWorkerTool(); InvalidArgument that
// lists the types; ResourceExhausted when the disk is full.
absl::StatusOr<std::string> FileInType(const ModelStore& store, const StoredModel& model,
                                       const std::string& type, const std::string& folder,
                                       const WorkerProgram& worker,
                                       const std::function<void(double fraction)>& on_progress);

// What a type of weights costs and brings on this machine.
struct TypeMeasurement {
  std::string type;
  uint64_t weight_bytes = 0;
  double prompt_tokens_per_s = 0;
  double answer_tokens_per_s = 0;
  // Where there is a text. Against the model as it is stored: divergence (Kullback-Leibler, nats a
  // token) and how often both hold the same token for the likeliest.
  std::optional<double> perplexity, perplexity_error;
  std::optional<double> mean_divergence, p99_divergence, same_top;
};

// Measures the model as it is, then in each of the types, which are written and removed again one
// after the other. `text`: a file; empty: none, sizes and speeds only. `tokens`: of it, at most.
// Errors: as QuantiseModel(); InvalidArgument for a text that is too short.
absl::StatusOr<std::vector<TypeMeasurement>> MeasureTypes(
    ModelStore* store, const StoredModel& model, const std::vector<std::string>& types,
    const std::string& text, uint32_t tokens, const WorkerProgram& worker, const OnWork& on_work);

}  // namespace corpgrid::models
