#include "gateway/completion_request.h"

#include <algorithm>
#include <limits>

#include "base/status_macros.h"
#include "fmt/format.h"
#include "gateway/chat_request.h"
#include "gateway/sampling_fields.h"

namespace corpgrid::gateway {
namespace {

constexpr size_t kMaxPrompts = 64;
constexpr size_t kMaxAnswers = 64;       // of all prompts together
constexpr int64_t kUsualMaxTokens = 16;  // as OpenAI has it
constexpr int64_t kMaxLogprobs = 20;

bool IsToken(const Json& value) {
  return value.is_number_integer() && value.get<int64_t>() >= 0 &&
         value.get<int64_t>() <= std::numeric_limits<int32_t>::max();
}

}  // namespace

std::vector<Prompt> ReadPrompts(Fields* fields, std::string_view name, size_t most) {
  std::vector<Prompt> prompts;
  fields->Require(name);
  const Json* given = fields->Any(name);
  if (given == nullptr) return prompts;
  const auto add = [&](const Json& value) {
    const bool tokens =
        value.is_array() && !value.empty() && std::all_of(value.begin(), value.end(), IsToken);
    if (value.is_string()) {
      prompts.emplace_back(value.get<std::string>());
    } else if (tokens) {
      prompts.emplace_back(value.get<std::vector<int32_t>>());
    } else {
      fields->Fail(name, "has to be a string, a list of strings, of tokens, or of lists of tokens");
    }
  };
  if (!given->is_array() || (!given->empty() && given->front().is_number())) {
    add(*given);
  } else if (given->empty() || given->size() > most) {
    fields->Fail(name, fmt::format("has {} entries; 1 to {} are possible", given->size(), most));
  } else {
    for (const Json& value : *given) add(value);
  }
  return prompts;
}

absl::StatusOr<CompletionRequest> ParseCompletionRequest(const Json& body) {
  CompletionRequest request;
  Fields fields(body);
  fields.Require("model");
  request.model = fields.Text("model");
  request.prompts = ReadPrompts(&fields, "prompt", kMaxPrompts);
  ReadSampling(&fields, &request.generate);
  request.generate.set_max_tokens(static_cast<uint32_t>(
      fields.Integer("max_tokens", kUsualMaxTokens, 1, std::numeric_limits<int32_t>::max())));
  const int64_t logprobs = fields.Integer("logprobs", -1, 0, kMaxLogprobs);
  request.logprobs = logprobs >= 0;
  request.generate.mutable_sampling()->set_logprobs(request.logprobs);
  if (request.logprobs) {
    request.generate.mutable_sampling()->set_top_logprobs(static_cast<uint32_t>(logprobs));
  }
  request.echo = fields.Bool("echo", false);
  if (request.echo && request.logprobs) {
    fields.Fail("echo", "is not possible together with logprobs: those of a prompt are not kept");
  }
  ReadStream(&fields, &request.stream, &request.include_usage);
  ReadFormat(&fields, "response_format", /*flat=*/false, &request.generate);
  const auto choices = request.generate.choices();
  if (fields.Integer("best_of", choices, 1, 64) != choices) {
    fields.Fail("best_of", "other than n is not supported here");
  }
  if (!fields.Text("suffix").empty()) fields.Fail("suffix", "is not supported here");
  if (request.prompts.size() * choices > kMaxAnswers) {
    fields.Fail("n", fmt::format("times the number of prompts is {}; at most {} answers are "
                                 "possible",
                                 request.prompts.size() * choices, kMaxAnswers));
  }
  fields.Text("user");  // describes it only
  RETURN_IF_ERROR(fields.Finish());
  return request;
}

}  // namespace corpgrid::gateway
