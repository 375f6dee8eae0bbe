#pragma once

#include "absl/status/statusor.h"
#include "inference/gpu.h"
#include "inference/model_facts.h"
#include "nlohmann/json.hpp"

namespace corpgrid::inference {

using Json = nlohmann::ordered_json;

// As manifests, the worker program's tools and scripts have them; sizes in bytes.
Json ToJson(const ModelFacts& facts);
Json ToJson(const Compatibility& compatibility);
Json ToJson(const MemoryEstimate& estimate);
Json ToJson(const Gpu& gpu);

// What ToJson() made; fields that are unknown are left out, absent ones are zero. Errors:
// InvalidArgument naming the field that is of another kind.
absl::StatusOr<ModelFacts> ParseFacts(const Json& json);
absl::StatusOr<Compatibility> ParseCompatibility(const Json& json);
absl::StatusOr<MemoryEstimate> ParseEstimate(const Json& json);
absl::StatusOr<Gpu> ParseGpu(const Json& json);

}  // namespace corpgrid::inference
