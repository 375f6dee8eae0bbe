// /v1/completions.
#include <boost/asio/this_coro.hpp>
#include <deque>
#include <utility>

#include "gateway/api.h"
#include "gateway/api_error.h"
#include "gateway/co_status.h"
#include "gateway/completion_logprobs.h"
#include "gateway/completion_request.h"

namespace corpgrid::gateway {
namespace {

namespace pb = corpgrid::v1;
using GenerateStream = WorkerStream<pb::GenerateResponse>;

Json ChoiceJson(uint32_t index, const std::string& text, const Json& logprobs,
                std::string_view finish) {
  return {{"index", index},
          {"text", text},
          {"logprobs", logprobs},
          {"finish_reason", finish.empty() ? Json() : Json(finish)}};
}

// The answers to all prompts of a request, which the worker computes at once.
class Answers {
 public:
  Answers(const CompletionRequest& request, Json envelope, std::vector<std::string> echoes)
      : request_(request), envelope_(std::move(envelope)), echoes_(std::move(echoes)) {}

  Task<absl::Status> SendWhole(http::Exchange* exchange, std::deque<GenerateStream>* streams,
                               Usage* usage) {
    Json choices = Json::array();
    for (size_t i = 0; i < streams->size(); ++i) {
      std::vector<std::string> texts(per_prompt(), echoes_[i]);
      std::vector<std::string_view> finishes(per_prompt());
      std::vector<CompletionLogprobs> logprobs(per_prompt());
      while (true) {
        CO_ASSIGN_OR_RETURN(const std::optional<pb::GenerateResponse> response,
                            co_await (*streams)[i].Next());
        if (!response) break;
        usage->Add(*response);
        if (request_.logprobs) CO_RETURN_IF_ERROR(usage->CheckLogprobs());
        for (const pb::Piece& piece : response->pieces()) {
          if (request_.logprobs) logprobs[piece.choice()].Add(piece);
          texts[piece.choice()] += piece.text();
        }
        for (const pb::AnswerEnd& end : response->ends()) {
          texts[end.choice()] += end.text();
          finishes[end.choice()] = FinishReason(end);
        }
      }
      for (uint32_t n = 0; n < per_prompt(); ++n) {
        choices.push_back(ChoiceJson(Index(i, n), texts[n],
                                     request_.logprobs ? logprobs[n].Take() : Json(), finishes[n]));
      }
    }
    Json body = envelope_;
    body["choices"] = std::move(choices);
    body["usage"] = usage->ToJson();
    co_await SendJson(exchange, std::move(body));
    co_return absl::OkStatus();
  }

  Task<absl::Status> SendChunks(http::Exchange* exchange, std::deque<GenerateStream>* streams,
                                Usage* usage) {
    for (size_t i = 0; i < streams->size(); ++i) {
      CO_ASSIGN_OR_RETURN(std::optional<pb::GenerateResponse> response,
                          co_await (*streams)[i].Next());
      if (!exchange->began()) {
        http::Headers headers;
        co_await exchange->BeginEvents(std::move(headers));
      }
      for (uint32_t n = 0; n < per_prompt() && !echoes_[i].empty(); ++n) {
        const std::string data = Chunk(Index(i, n), echoes_[i], Json(), "");
        co_await exchange->SendEvent("", data);
      }
      std::vector<CompletionLogprobs> logprobs(per_prompt());
      while (response) {
        usage->Add(*response);
        for (const std::string& data : Chunks(i, *response, &logprobs)) {
          co_await exchange->SendEvent("", data);
        }
        CO_ASSIGN_OR_RETURN(response, co_await (*streams)[i].Next());
      }
    }
    co_await EndChunks(exchange, &envelope_, request_.include_usage ? usage : nullptr);
    co_return absl::OkStatus();
  }

 private:
  uint32_t per_prompt() const { return request_.generate.choices(); }
  uint32_t Index(size_t prompt, uint32_t choice) const {
    return static_cast<uint32_t>(prompt) * per_prompt() + choice;
  }

  std::string Chunk(uint32_t index, const std::string& text, const Json& logprobs,
                    std::string_view finish) const {
    Json chunk = envelope_;
    chunk["choices"] = Json::array({ChoiceJson(index, text, logprobs, finish)});
    if (request_.include_usage) chunk["usage"] = Json();
    return Dump(chunk);
  }

  std::vector<std::string> Chunks(size_t prompt, const pb::GenerateResponse& response,
                                  std::vector<CompletionLogprobs>* logprobs) const {
    std::vector<std::string> chunks;
    for (const pb::Piece& piece : response.pieces()) {
      if (piece.text().empty() && !request_.logprobs) continue;
      CompletionLogprobs& of_choice = (*logprobs)[piece.choice()];
      of_choice.Add(piece);
      chunks.push_back(Chunk(Index(prompt, piece.choice()), piece.text(),
                             request_.logprobs ? of_choice.Take() : Json(), ""));
    }
    for (const pb::AnswerEnd& end : response.ends()) {
      chunks.push_back(Chunk(Index(prompt, end.choice()), end.text(), Json(), FinishReason(end)));
    }
    return chunks;
  }

  const CompletionRequest& request_;
  const Json envelope_;
  const std::vector<std::string> echoes_;
};

}  // namespace

Task<absl::Status> Api::Complete(http::Exchange* exchange, Admission::Ticket* ticket) {
  CO_ASSIGN_OR_RETURN(const Json body, ParseObject(exchange->request().body));
  CO_ASSIGN_OR_RETURN(CompletionRequest request, ParseCompletionRequest(body));
  CO_ASSIGN_OR_RETURN(const Model model, FindModel(request.model, *ticket));
  request.generate.set_client(ticket->key().name);
  request.generate.set_request_id(exchange->request().id);
  std::vector<pb::GenerateRequest> asked;
  std::vector<std::string> echoes;
  Usage usage(ticket);
  for (const Prompt& prompt : request.prompts) {
    pb::GenerateRequest& one = asked.emplace_back(request.generate);
    const auto* text = std::get_if<std::string>(&prompt);
    if (text != nullptr) {
      CO_RETURN_IF_ERROR(co_await SetPrompt(model, *text, /*special=*/false, "prompt", &one));
    } else {
      const auto& tokens = std::get<std::vector<int32_t>>(prompt);
      CO_RETURN_IF_ERROR(CheckLength(model.info, tokens.size(), one.max_tokens(), "prompt"));
      one.mutable_tokens()->mutable_tokens()->Add(tokens.begin(), tokens.end());
    }
    if (request.echo && text == nullptr) {
      co_return BadField("echo", "echo is possible only with a prompt that is text");
    }
    echoes.push_back(request.echo ? *text : "");
    usage.AddPrompt(static_cast<uint64_t>(one.tokens().tokens_size()));
  }
  const auto strand = co_await boost::asio::this_coro::executor;
  std::deque<GenerateStream> streams;
  for (const pb::GenerateRequest& one : asked) {
    streams.emplace_back(strand, model.channel.get(), "Generate", one);
  }
  Json envelope = {{"id", "cmpl-" + exchange->request().id},
                   {"object", "text_completion"},
                   {"created", NowSeconds()},
                   {"model", request.model}};
  Answers answers(request, std::move(envelope), std::move(echoes));
  if (request.stream) co_return co_await answers.SendChunks(exchange, &streams, &usage);
  co_return co_await answers.SendWhole(exchange, &streams, &usage);
}

}  // namespace corpgrid::gateway
