#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "gateway/admission.h"
#include "gateway/chat_request.h"
#include "gateway/generation.h"
#include "gateway/model_directory.h"
#include "http/router.h"

namespace corpgrid::gateway {

// The OpenAI API. Keeps nothing between requests. Any thread.
class Api {
 public:
  // All must outlive it, and the server whose router has its routes.
  Api(const ModelDirectory* models, Admission* admission, const Clock* clock)
      : models_(models), admission_(admission), clock_(clock) {}

  void AddRoutes(http::Router* router);

  // Turns away who has no key before the body is read, so that only those who have one can make
  // this server hold large ones. For http::Options.
  std::optional<http::Response> TurnAway(const http::Request& head) const;

 private:
  // An endpoint behind a key. An error that it returns is told in the API's form, as an event where
  // a stream has begun.
  using Endpoint = Task<absl::Status> (Api::*)(http::Exchange* exchange, Admission::Ticket* ticket);

  void Add(http::Router* router, std::string method, std::string path, Endpoint endpoint);
  Task<void> Serve(http::Exchange* exchange, Endpoint endpoint);
  Task<void> Tell(http::Exchange* exchange, absl::Status status);

  Task<void> Health(http::Exchange* exchange);
  Task<absl::Status> ListModels(http::Exchange* exchange, Admission::Ticket* ticket);
  Task<absl::Status> ShowModel(http::Exchange* exchange, Admission::Ticket* ticket);
  Task<absl::Status> Tokenize(http::Exchange* exchange, Admission::Ticket* ticket);
  Task<absl::Status> Chat(http::Exchange* exchange, Admission::Ticket* ticket);
  Task<absl::Status> Respond(http::Exchange* exchange, Admission::Ticket* ticket);
  Task<absl::Status> Embed(http::Exchange* exchange, Admission::Ticket* ticket);
  Task<absl::Status> Complete(http::Exchange* exchange, Admission::Ticket* ticket);

  Task<absl::StatusOr<const ToolFormat*>> Prepare(const Model* model, ChatRequest* request,
                                                  Usage* usage, std::string client);
  // Errors: PermissionDenied, and those of ModelDirectory::Find().
  absl::StatusOr<Model> FindModel(const std::string& name, const Admission::Ticket& ticket) const;
  int64_t NowSeconds() const { return clock_->WallMs() / 1000; }

  const ModelDirectory* const models_;
  Admission* const admission_;
  const Clock* const clock_;
};

Task<void> SendJson(http::Exchange* exchange, Json json);

}  // namespace corpgrid::gateway
