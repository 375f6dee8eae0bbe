#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "inference/model_facts.h"

namespace corpgrid::inference {

// What a GGUF file is, and whether the library can host it. `try_it`: computes one token where
// there is memory for that. A file may end this process (docs/decisions/0023): call it in one of
// its own. Any thread, one call at a time. Errors: NotFound when there is no such file,
// InvalidArgument for what is no GGUF file.
absl::StatusOr<Inspection> Inspect(const std::string& path, bool try_it);

// Whether there is memory for the weights of a model. Errors: ResourceExhausted with the figures;
// those of Model::LoadFacts().
absl::Status CheckFits(const std::string& path);

}  // namespace corpgrid::inference
