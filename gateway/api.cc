#include "gateway/api.h"

#include <utility>

#include "fmt/format.h"
#include "gateway/api_error.h"
#include "gateway/co_status.h"
#include "spdlog/spdlog.h"

namespace corpgrid::gateway {
namespace {

namespace pb = corpgrid::v1;

Json ModelJson(const ModelInfo& info) {
  return {{"id", info.name},
          {"object", "model"},
          {"created", info.created_s},
          {"owned_by", "corpgrid"},
          {"context_length", info.context}};
}

constexpr char kHealth[] = "/health";

http::Response ErrorResponse(const absl::Status& status) {
  const unsigned http_status = HttpStatusOf(status);
  http::Response response{.status = http_status, .body = ErrorJson(status)};
  int64_t retry_after_s = RetryAfter(status);
  if (retry_after_s == 0 && (http_status == 429 || http_status == 503)) retry_after_s = 1;
  if (retry_after_s > 0) {
    response.headers.emplace_back("Retry-After", std::to_string(retry_after_s));
  }
  if (http_status == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  return response;
}

}  // namespace

Task<void> SendJson(http::Exchange* exchange, Json json) {
  http::Response response{.body = Dump(json)};
  co_await exchange->Send(std::move(response));
}

std::optional<http::Response> Api::TurnAway(const http::Request& head) const {
  if (head.path == kHealth) return std::nullopt;
  const absl::Status status = admission_->FindKey(head.Header("Authorization")).status();
  return status.ok() ? std::nullopt : std::make_optional(ErrorResponse(status));
}

void Api::AddRoutes(http::Router* router) {
  for (const char* method : {"GET", "HEAD"}) {  // load balancers ask with either
    router->Add(method, kHealth, [this](http::Exchange& exchange) { return Health(&exchange); });
  }
  Add(router, "GET", "/v1/models", &Api::ListModels);
  Add(router, "GET", "/v1/models/{name}", &Api::ShowModel);
  Add(router, "POST", "/v1/chat/completions", &Api::Chat);
  Add(router, "POST", "/v1/completions", &Api::Complete);
  Add(router, "POST", "/v1/responses", &Api::Respond);
  Add(router, "POST", "/v1/embeddings", &Api::Embed);
  Add(router, "POST", "/tokenize", &Api::Tokenize);
}

void Api::Add(http::Router* router, std::string method, std::string path, Endpoint endpoint) {
  router->Add(std::move(method), std::move(path),
              [this, endpoint](http::Exchange& exchange) { return Serve(&exchange, endpoint); });
}

Task<void> Api::Serve(http::Exchange* exchange, Endpoint endpoint) {
  absl::StatusOr<std::unique_ptr<Admission::Ticket>> ticket =
      admission_->Enter(exchange->request().Header("Authorization"));
  absl::Status status = ticket.status();
  if (ticket.ok()) status = co_await (this->*endpoint)(exchange, ticket->get());
  if (!status.ok()) co_await Tell(exchange, std::move(status));
}

Task<void> Api::Tell(http::Exchange* exchange, absl::Status status) {
  const http::Request& request = exchange->request();
  const unsigned http_status = HttpStatusOf(status);
  if (http_status >= 500) {
    spdlog::warn("{} {} {}: {} {}", request.id, request.method, request.path, http_status,
                 std::string(status.message()));
  }
  if (exchange->began()) {
    const std::string error = ErrorJson(status);
    co_await exchange->SendEvent("", error);
    co_await exchange->EndEvents();
    co_return;
  }
  http::Response response = ErrorResponse(status);
  co_await exchange->Send(std::move(response));
}

absl::StatusOr<Model> Api::FindModel(const std::string& name,
                                     const Admission::Ticket& ticket) const {
  RETURN_IF_ERROR(ticket.CheckModel(name));
  absl::StatusOr<Model> model = models_->Find(name);
  if (absl::IsNotFound(model.status())) {
    // Who may ask only some models does not hear of the others.
    return ApiError(absl::StatusCode::kNotFound,
                    ticket.key().models.empty() ? std::string(model.status().message())
                                                : fmt::format("there is no model \"{}\"", name),
                    "model", "model_not_found");
  }
  return model;
}

// Whether models can be asked; for those who watch, without a key.
Task<void> Api::Health(http::Exchange* exchange) {
  http::Response response;
  const absl::Status health = models_->Health();
  Json body = {{"status", health.ok() ? "ok" : "unavailable"}};
  if (!health.ok()) response.status = 503;
  response.body = Dump(body);
  co_await exchange->Send(std::move(response));
}

Task<absl::Status> Api::ListModels(http::Exchange* exchange, Admission::Ticket* ticket) {
  Json data = Json::array();
  for (const ModelInfo& info : models_->List()) {
    if (ticket->key().Allows(info.name)) data.push_back(ModelJson(info));
  }
  Json body = {{"object", "list"}, {"data", std::move(data)}};
  co_await SendJson(exchange, std::move(body));
  co_return absl::OkStatus();
}

Task<absl::Status> Api::ShowModel(http::Exchange* exchange, Admission::Ticket* ticket) {
  const std::string name = exchange->request().parameter;
  CO_RETURN_IF_ERROR(ticket->CheckModel(name));
  for (const ModelInfo& info : models_->List()) {
    if (info.name != name) continue;
    co_await SendJson(exchange, ModelJson(info));
    co_return absl::OkStatus();
  }
  co_return FindModel(name, *ticket).status();
}

Task<absl::Status> Api::Tokenize(http::Exchange* exchange, Admission::Ticket* ticket) {
  CO_ASSIGN_OR_RETURN(const Json body, ParseObject(exchange->request().body));
  Fields fields(body);
  fields.Require("model");
  fields.Require("text");
  const std::string name = fields.Text("model");
  pb::TokenizeRequest request;
  request.set_text(fields.Text("text"));
  request.set_add_start(fields.Bool("add_start", true));
  request.set_special(fields.Bool("special", false));
  CO_RETURN_IF_ERROR(fields.Finish());
  CO_ASSIGN_OR_RETURN(const Model model, FindModel(name, *ticket));
  CO_ASSIGN_OR_RETURN(const pb::TokenizeResponse response,
                      co_await CallWorker<pb::TokenizeResponse>(model.channel, "Tokenize",
                                                                std::move(request), kShortCall));
  Json tokens = Json::array();
  for (const int32_t token : response.tokens()) tokens.push_back(token);
  Json answer = {{"object", "list"}, {"count", response.tokens_size()}};
  answer["tokens"] = std::move(tokens);
  co_await SendJson(exchange, std::move(answer));
  co_return absl::OkStatus();
}

}  // namespace corpgrid::gateway
