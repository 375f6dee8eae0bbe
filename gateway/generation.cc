#include "gateway/generation.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"
#include "gateway/api_error.h"
#include "gateway/co_status.h"

namespace corpgrid::gateway {
namespace {

namespace pb = corpgrid::v1;

// Of a whole answer, in memory: nearly a KiB each.
constexpr uint64_t kMostLogprobs = 100'000;

Json OneLogprob(const pb::TokenLogprob& token) {
  Json bytes = Json::array();
  for (const char byte : token.piece()) bytes.push_back(static_cast<unsigned char>(byte));
  return {{"token", token.piece()}, {"logprob", token.logprob()}, {"bytes", std::move(bytes)}};
}

}  // namespace

void Usage::Add(const pb::GenerateResponse& response) {
  computed_ += static_cast<uint64_t>(response.pieces_size());
  for (const pb::Piece& piece : response.pieces()) {
    logprobs_ += 1 + static_cast<uint64_t>(piece.likeliest_size());
  }
  for (const pb::AnswerEnd& end : response.ends()) {
    completion_ += end.answer_tokens();
    // Answers to the same prompt share it.
    if (end.choice() == 0) cached_ += end.reused_tokens();
  }
}

absl::Status Usage::CheckLogprobs() const {
  if (logprobs_ <= kMostLogprobs) return absl::OkStatus();
  return BadField("logprobs", fmt::format("the answer has more than {} logprobs; ask for fewer, or "
                                          "have it streamed",
                                          kMostLogprobs));
}

Json Usage::ToJson() const {
  return {{"prompt_tokens", prompt_},
          {"completion_tokens", completion_},
          {"total_tokens", prompt_ + completion_},
          {"prompt_tokens_details", {{"cached_tokens", cached_}}}};
}

absl::Status CheckLength(const ModelInfo& info, size_t prompt_tokens,
                         std::optional<uint32_t> max_tokens, std::string_view param) {
  if (prompt_tokens == 0) {
    return BadField(param, fmt::format("{} is empty; the model needs at least one token", param));
  }
  const uint32_t answer = max_tokens ? std::max(*max_tokens, 1u) : 0;
  if (prompt_tokens + answer <= info.context) return absl::OkStatus();
  const std::string wanted = max_tokens.value_or(0) == 0
                                 ? ""
                                 : fmt::format(" and {} for the answer are asked for", answer);
  return ApiError(
      absl::StatusCode::kInvalidArgument,
      fmt::format("this model's context has {} tokens; the prompt has {}{}; shorten the prompt or "
                  "ask for fewer",
                  info.context, prompt_tokens, wanted),
      param, "context_length_exceeded");
}

Task<absl::StatusOr<pb::TokenList>> TokensOf(Model model, std::string text, bool special) {
  pb::TokenizeRequest tokenize;
  tokenize.set_text(std::move(text));
  tokenize.set_special(special);
  tokenize.set_add_start(true);
  CO_ASSIGN_OR_RETURN(pb::TokenizeResponse tokens,
                      co_await CallWorker<pb::TokenizeResponse>(model.channel, "Tokenize",
                                                                std::move(tokenize), kShortCall));
  pb::TokenList list;
  list.mutable_tokens()->Swap(tokens.mutable_tokens());
  co_return list;
}

Task<absl::Status> SetPrompt(Model model, std::string text, bool special, std::string param,
                             pb::GenerateRequest* request) {
  CO_ASSIGN_OR_RETURN(pb::TokenList tokens, co_await TokensOf(model, std::move(text), special));
  CO_RETURN_IF_ERROR(CheckLength(model.info, static_cast<size_t>(tokens.tokens_size()),
                                 request->max_tokens(), param));
  request->mutable_tokens()->Swap(&tokens);
  co_return absl::OkStatus();
}

Json ChatLogprob(const pb::Piece& piece) {
  Json logprob = OneLogprob(piece.token());
  Json top = Json::array();
  for (const pb::TokenLogprob& token : piece.likeliest()) top.push_back(OneLogprob(token));
  logprob["top_logprobs"] = std::move(top);
  return logprob;
}

Task<void> EndChunks(http::Exchange* exchange, const Json* envelope, const Usage* usage) {
  if (usage) {
    Json chunk = *envelope;
    chunk["choices"] = Json::array();
    chunk["usage"] = usage->ToJson();
    const std::string data = Dump(chunk);
    co_await exchange->SendEvent("", data);
  }
  co_await exchange->SendEvent("", "[DONE]");
  co_await exchange->EndEvents();
}

std::string_view FinishReason(const pb::AnswerEnd& end) {
  return end.reason() == pb::AnswerEnd::LENGTH ? "length" : "stop";
}

}  // namespace corpgrid::gateway
