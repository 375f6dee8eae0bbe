#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>

#include "corpgrid/v1/worker.pb.h"
#include "gateway/admission.h"
#include "gateway/fields.h"
#include "gateway/model_directory.h"
#include "gateway/worker_stream.h"

namespace corpgrid::gateway {

// The tokens that a request takes. Its key is charged for them when this goes, however the request
// ends.
class Usage {
 public:
  explicit Usage(Admission::Ticket* ticket) : ticket_(ticket) {}
  Usage(const Usage&) = delete;
  ~Usage() { ticket_->Charge(prompt_ + std::max(computed_, completion_)); }

  void AddPrompt(uint64_t tokens) { prompt_ += tokens; }
  void Add(const corpgrid::v1::GenerateResponse& response);

  // An error for more logprobs than an answer that is not streamed may have.
  absl::Status CheckLogprobs() const;

  uint64_t prompt() const { return prompt_; }
  uint64_t completion() const { return completion_; }
  uint64_t cached() const { return cached_; }
  // As the API has it.
  Json ToJson() const;

 private:
  Admission::Ticket* const ticket_;
  uint64_t prompt_ = 0;
  uint64_t computed_ = 0;  // of answers, so far
  uint64_t completion_ = 0;
  uint64_t cached_ = 0;
  uint64_t logprobs_ = 0;
};

// Makes the text the prompt of `request`, as tokens. `param`: where the text came from. Errors:
// InvalidArgument with the code context_length_exceeded and the figures when it and the answer do
// not fit into the model's context.
Task<absl::Status> SetPrompt(Model model, std::string text, bool special, std::string param,
                             corpgrid::v1::GenerateRequest* request);

// The text as tokens.
Task<absl::StatusOr<corpgrid::v1::TokenList>> TokensOf(Model model, std::string text, bool special);

// The same check for a prompt that is tokens already. `max_tokens` of the answer; 0: as many as
// there is room for, one at least; nothing: there is none.
absl::Status CheckLength(const ModelInfo& info, size_t prompt_tokens,
                         std::optional<uint32_t> max_tokens, std::string_view param);

// A token with its logprob as the chat API has it, and those of the likeliest.
Json ChatLogprob(const corpgrid::v1::Piece& piece);

// Ends a stream of chunks: with one that has the usage, unless that is null, and "[DONE]".
Task<void> EndChunks(http::Exchange* exchange, const Json* envelope, const Usage* usage);

std::string_view FinishReason(const corpgrid::v1::AnswerEnd& end);

}  // namespace corpgrid::gateway
