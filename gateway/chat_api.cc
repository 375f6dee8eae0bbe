// /v1/chat/completions.
#include <boost/asio/this_coro.hpp>
#include <utility>

#include "gateway/api.h"
#include "gateway/chat_deltas.h"
#include "gateway/chat_request.h"
#include "gateway/co_status.h"

namespace corpgrid::gateway {
namespace {

namespace pb = corpgrid::v1;
using GenerateStream = WorkerStream<pb::GenerateResponse>;

// What all chunks of an answer have.
Json Envelope(const std::string& id, const char* object, int64_t created,
              const std::string& model) {
  return {{"id", "chatcmpl-" + id}, {"object", object}, {"created", created}, {"model", model}};
}

Json Chunk(const Json& envelope, const ChatDeltas::Delta& delta, bool with_usage) {
  Json chunk = envelope;
  const Json finish = delta.finish_reason.empty() ? Json() : Json(delta.finish_reason);
  chunk["choices"] = Json::array({{{"index", delta.choice},
                                   {"delta", delta.delta},
                                   {"logprobs", delta.logprobs},
                                   {"finish_reason", finish}}});
  if (with_usage) chunk["usage"] = Json();
  return chunk;
}

Task<absl::Status> SendChunks(http::Exchange* exchange, const ChatRequest* request,
                              const Json* envelope, GenerateStream* stream, ChatDeltas* deltas,
                              Usage* usage) {
  // An error before anything was said is an error's status, not a stream.
  CO_ASSIGN_OR_RETURN(std::optional<pb::GenerateResponse> response, co_await stream->Next());
  http::Headers headers;
  co_await exchange->BeginEvents(std::move(headers));
  for (uint32_t i = 0; i < request->generate.choices(); ++i) {
    ChatDeltas::Delta first{.choice = i};
    first.delta = {{"role", "assistant"}, {"content", ""}};
    const std::string data = Dump(Chunk(*envelope, first, request->include_usage));
    co_await exchange->SendEvent("", data);
  }
  while (response) {
    usage->Add(*response);
    for (const ChatDeltas::Delta& delta : deltas->Read(*response)) {
      const std::string data = Dump(Chunk(*envelope, delta, request->include_usage));
      co_await exchange->SendEvent("", data);
    }
    CO_ASSIGN_OR_RETURN(response, co_await stream->Next());
  }
  co_await EndChunks(exchange, envelope, request->include_usage ? usage : nullptr);
  co_return absl::OkStatus();
}

Task<absl::Status> SendWhole(http::Exchange* exchange, const ChatRequest* request,
                             const Json* envelope, GenerateStream* stream, ChatDeltas* deltas,
                             Usage* usage) {
  ChatChoices choices(request->generate.choices());
  while (true) {
    CO_ASSIGN_OR_RETURN(const std::optional<pb::GenerateResponse> response,
                        co_await stream->Next());
    if (!response) break;
    usage->Add(*response);
    if (request->logprobs) CO_RETURN_IF_ERROR(usage->CheckLogprobs());
    for (const ChatDeltas::Delta& delta : deltas->Read(*response)) choices.Add(delta);
  }
  Json body = *envelope;
  body["choices"] = choices.ToJson();
  body["usage"] = usage->ToJson();
  co_await SendJson(exchange, std::move(body));
  co_return absl::OkStatus();
}

}  // namespace

// Makes the prompt and the grammar. Returns how calls of tools are written; null: there are none.
Task<absl::StatusOr<const ToolFormat*>> Api::Prepare(const Model* model, ChatRequest* request,
                                                     Usage* usage, std::string client) {
  const ToolFormat* format = nullptr;
  if (request->tools.any()) {
    format = &FormatOf(model->info.chat_template);
    CO_ASSIGN_OR_RETURN(std::string grammar, ToolGrammar(request->tools, *format));
    request->generate.set_grammar(std::move(grammar));
    request->generate.set_show_control(true);
  }
  pb::RenderChatRequest render;
  render.set_messages(request->messages);
  render.set_tools(request->tools.json);
  CO_ASSIGN_OR_RETURN(const pb::RenderChatResponse rendered,
                      co_await CallWorker<pb::RenderChatResponse>(model->channel, "RenderChat",
                                                                  std::move(render), kShortCall));
  CO_RETURN_IF_ERROR(co_await SetPrompt(*model, rendered.text(), /*special=*/true, "messages",
                                        &request->generate));
  request->generate.set_client(std::move(client));
  usage->AddPrompt(static_cast<uint64_t>(request->generate.tokens().tokens_size()));
  co_return format;
}

Task<absl::Status> Api::Chat(http::Exchange* exchange, Admission::Ticket* ticket) {
  CO_ASSIGN_OR_RETURN(const Json body, ParseObject(exchange->request().body));
  CO_ASSIGN_OR_RETURN(ChatRequest request, ParseChatRequest(body));
  CO_ASSIGN_OR_RETURN(const Model model, FindModel(request.model, *ticket));
  Usage usage(ticket);
  CO_ASSIGN_OR_RETURN(const ToolFormat* const format,
                      co_await Prepare(&model, &request, &usage, ticket->key().name));
  const std::string id = exchange->request().id;
  request.generate.set_request_id(id);
  const Json envelope = Envelope(id, request.stream ? "chat.completion.chunk" : "chat.completion",
                                 NowSeconds(), request.model);
  ChatDeltas deltas(request.generate.choices(), format, request.tools, request.logprobs, id);
  const auto strand = co_await boost::asio::this_coro::executor;
  GenerateStream stream(strand, model.channel.get(), "Generate", request.generate);
  if (request.stream) {
    co_return co_await SendChunks(exchange, &request, &envelope, &stream, &deltas, &usage);
  }
  co_return co_await SendWhole(exchange, &request, &envelope, &stream, &deltas, &usage);
}

}  // namespace corpgrid::gateway
