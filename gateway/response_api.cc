// /v1/responses: the part of it that needs nothing kept.
#include <boost/asio/this_coro.hpp>
#include <utility>

#include "gateway/api.h"
#include "gateway/chat_deltas.h"
#include "gateway/co_status.h"
#include "gateway/response_request.h"
#include "gateway/response_writer.h"

namespace corpgrid::gateway {
namespace {

namespace pb = corpgrid::v1;
using GenerateStream = WorkerStream<pb::GenerateResponse>;

Task<void> SendEvents(http::Exchange* exchange, std::vector<ResponseWriter::Event> events) {
  for (const auto& [name, data] : events) co_await exchange->SendEvent(name, data);
}

Task<absl::Status> Write(http::Exchange* exchange, bool as_events, GenerateStream* stream,
                         ChatDeltas* deltas, ResponseWriter* writer, Usage* usage) {
  CO_ASSIGN_OR_RETURN(std::optional<pb::GenerateResponse> response, co_await stream->Next());
  std::vector<ResponseWriter::Event> begin = writer->Begin();
  if (as_events) {
    http::Headers headers;
    co_await exchange->BeginEvents(std::move(headers));
    co_await SendEvents(exchange, std::move(begin));
  }
  while (response) {
    usage->Add(*response);
    for (const ChatDeltas::Delta& delta : deltas->Read(*response)) {
      std::vector<ResponseWriter::Event> events = writer->Add(delta);
      if (as_events) co_await SendEvents(exchange, std::move(events));
    }
    CO_ASSIGN_OR_RETURN(response, co_await stream->Next());
  }
  const Json used = usage->ToJson();
  std::vector<ResponseWriter::Event> end = writer->End(used);
  if (as_events) {
    co_await SendEvents(exchange, std::move(end));
    co_await exchange->EndEvents();
  } else {
    co_await SendJson(exchange, writer->response());
  }
  co_return absl::OkStatus();
}

}  // namespace

Task<absl::Status> Api::Respond(http::Exchange* exchange, Admission::Ticket* ticket) {
  CO_ASSIGN_OR_RETURN(const Json body, ParseObject(exchange->request().body));
  CO_ASSIGN_OR_RETURN(ResponseRequest request, ParseResponseRequest(body));
  CO_ASSIGN_OR_RETURN(const Model model, FindModel(request.chat.model, *ticket));
  Usage usage(ticket);
  CO_ASSIGN_OR_RETURN(const ToolFormat* const format,
                      co_await Prepare(&model, &request.chat, &usage, ticket->key().name));
  const std::string id = exchange->request().id;
  Json fixed = {{"id", "resp_" + id},
                {"object", "response"},
                {"created_at", NowSeconds()},
                {"model", request.chat.model}};
  fixed.update(request.echo);
  fixed["previous_response_id"] = Json();
  fixed["store"] = false;
  fixed["truncation"] = "disabled";
  ResponseWriter writer(std::move(fixed), id);
  ChatDeltas deltas(1, format, request.chat.tools, /*logprobs=*/false, id);
  request.chat.generate.set_request_id(exchange->request().id);
  const auto strand = co_await boost::asio::this_coro::executor;
  GenerateStream stream(strand, model.channel.get(), "Generate", request.chat.generate);
  co_return co_await Write(exchange, request.chat.stream, &stream, &deltas, &writer, &usage);
}

}  // namespace corpgrid::gateway
