#pragma once

#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "corpgrid/v1/worker.pb.h"
#include "gateway/fields.h"

namespace corpgrid::gateway {

// A prompt as a client gives it: text, or tokens.
using Prompt = std::variant<std::string, std::vector<int32_t>>;

// A request to /v1/completions that makes sense.
struct CompletionRequest {
  std::string model;
  std::vector<Prompt> prompts;
  corpgrid::v1::GenerateRequest generate;  // all but the prompt and the client
  bool logprobs = false;
  bool echo = false;
  bool stream = false;
  bool include_usage = false;
};

// Errors: InvalidArgument that names the field.
absl::StatusOr<CompletionRequest> ParseCompletionRequest(const Json& body);

// A string, a list of strings, of tokens, or of lists of tokens; at most `most` prompts. Errors
// stay in `fields`.
std::vector<Prompt> ReadPrompts(Fields* fields, std::string_view name, size_t most);

}  // namespace corpgrid::gateway
