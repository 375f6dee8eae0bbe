#include "worker/service.h"

#include <algorithm>
#include <random>
#include <utility>

#include "base/status_macros.h"
#include "fmt/format.h"
#include "platform/memory.h"
#include "rpc/status.h"
#include "worker/generate_stream.h"
#include "worker/messages.h"

namespace corpgrid::worker {
namespace {

namespace pb = corpgrid::v1;

grpc::ServerUnaryReactor* FinishNow(grpc::CallbackServerContext* context,
                                    const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(rpc::ToGrpc(status));
  return reactor;
}

// Whoever asks how the worker is then starts another one.
constexpr int64_t kMostThinkingMs = 300'000;

// Where a request gives no seed.
uint64_t SomeSeed() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

absl::Status OnlyEmbeds() {
  return absl::UnimplementedError("this model only makes embeddings; ask another one for text");
}

}  // namespace

WorkerService::WorkerService(ModelLoader loader, const Clock* clock)
    : loader_(std::move(loader)), clock_(clock) {}

WorkerService::~WorkerService() {
  Stop();
  if (loading_.joinable()) loading_.join();
}

void WorkerService::Stop() {
  std::shared_ptr<Loaded> loaded;
  {
    absl::MutexLock lock(&mutex_);
    asked_to_load_ = true;
    loaded = loaded_;
  }
  if (!loaded) return;
  if (loaded->engine) loaded->engine->Stop();
  if (loaded->embedder) loaded->embedder->Stop();
}

grpc::ServerUnaryReactor* WorkerService::Load(grpc::CallbackServerContext* context,
                                              const pb::LoadRequest* request,
                                              pb::LoadResponse* response) {
  absl::StatusOr<pb::LoadRequest> filled = FillIn(*request);
  if (!filled.ok()) return FinishNow(context, filled.status());
  absl::MutexLock lock(&mutex_);
  if (asked_to_load_) {
    return FinishNow(context,
                     absl::FailedPreconditionError(
                         "this worker was asked to load a model before; start another one"));
  }
  asked_to_load_ = true;
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  loading_ = std::thread([this, reactor, response, request = *std::move(filled)] {
    const absl::StatusOr<std::shared_ptr<Loaded>> loaded = LoadNow(request);
    if (loaded.ok()) Fill((*loaded)->model, response);
    {
      absl::MutexLock lock(&mutex_);
      if (loaded.ok()) loaded_ = *loaded;
    }
    reactor->Finish(rpc::ToGrpc(loaded.status()));
  });
  return reactor;
}

absl::StatusOr<std::shared_ptr<WorkerService::Loaded>> WorkerService::LoadNow(
    const pb::LoadRequest& request) {
  auto loaded = std::make_shared<Loaded>();
  ASSIGN_OR_RETURN(loaded->model, loader_(request));
  if (loaded->model.embed) loaded->embedder = std::make_unique<EmbedThread>(loaded->model.embed);
  if (!loaded->model.decoder) return loaded;
  const inference::StepBudget budget = {
      .tokens = request.step_tokens(),
      .prompt_tokens_beside_answers =
          std::min(request.step_tokens_beside_answers(), request.step_tokens())};
  loaded->engine = std::make_unique<inference::EngineThread>(std::make_unique<inference::Engine>(
      loaded->model.decoder.get(), loaded->model.vocabulary.get(), clock_, budget,
      request.threads()));
  return loaded;
}

absl::StatusOr<std::shared_ptr<WorkerService::Loaded>> WorkerService::Current() const {
  absl::MutexLock lock(&mutex_);
  if (loaded_) return loaded_;
  return absl::FailedPreconditionError(asked_to_load_
                                           ? "the model is still being loaded, or could not be"
                                           : "no model is loaded; call Load first");
}

grpc::ServerWriteReactor<pb::GenerateResponse>* WorkerService::Generate(
    grpc::CallbackServerContext*, const pb::GenerateRequest* request) {
  const auto loaded = Current();
  if (!loaded.ok()) return GenerateStream::Fail(loaded.status());
  if (!(*loaded)->engine) {
    return GenerateStream::Fail(OnlyEmbeds());
  }
  const inference::Vocabulary& vocabulary = *(*loaded)->model.vocabulary;
  absl::StatusOr<inference::Request> parsed = ToRequest(*request, vocabulary, SomeSeed());
  if (!parsed.ok()) return GenerateStream::Fail(parsed.status());
  auto stream = std::make_shared<GenerateStream>((*loaded)->engine.get(), &vocabulary);
  stream->Start(*std::move(parsed), stream);
  return stream.get();
}

grpc::ServerUnaryReactor* WorkerService::RenderChat(grpc::CallbackServerContext* context,
                                                    const pb::RenderChatRequest* request,
                                                    pb::RenderChatResponse* response) {
  const auto loaded = Current();
  if (!loaded.ok()) return FinishNow(context, loaded.status());
  if (!(*loaded)->engine) return FinishNow(context, OnlyEmbeds());
  const absl::StatusOr<std::string> text =
      (*loaded)->model.render_chat({.messages = request->messages(),
                                    .tools = request->tools(),
                                    .variables = request->variables(),
                                    .begins_answer = !request->ends_with_answer()});
  if (text.ok()) response->set_text(*text);
  return FinishNow(context, text.status());
}

grpc::ServerUnaryReactor* WorkerService::Tokenize(grpc::CallbackServerContext* context,
                                                  const pb::TokenizeRequest* request,
                                                  pb::TokenizeResponse* response) {
  const auto loaded = Current();
  if (!loaded.ok()) return FinishNow(context, loaded.status());
  const auto tokens = (*loaded)->model.vocabulary->Tokenize(request->text(), request->add_start(),
                                                            request->special());
  if (tokens.ok()) response->mutable_tokens()->Add(tokens->begin(), tokens->end());
  return FinishNow(context, tokens.status());
}

grpc::ServerUnaryReactor* WorkerService::Embed(grpc::CallbackServerContext* context,
                                               const pb::EmbedRequest* request,
                                               pb::EmbedResponse* response) {
  const auto loaded = Current();
  if (!loaded.ok()) return FinishNow(context, loaded.status());
  if (!(*loaded)->embedder) {
    return FinishNow(context, absl::UnimplementedError("this model makes no embeddings"));
  }
  return (*loaded)->embedder->Start(request, response);
}

grpc::ServerUnaryReactor* WorkerService::Describe(grpc::CallbackServerContext* context,
                                                  const pb::DescribeRequest*,
                                                  pb::LoadResponse* response) {
  const auto loaded = Current();
  if (loaded.ok()) Fill((*loaded)->model, response);
  return FinishNow(context, loaded.status());
}

grpc::ServerUnaryReactor* WorkerService::GetStats(grpc::CallbackServerContext* context,
                                                  const pb::GetStatsRequest* request,
                                                  pb::GetStatsResponse* response) {
  const auto loaded = Current();
  if (loaded.ok()) {
    EmbedderMemory& memory = *(*loaded)->model.embedder_memory;
    if (request->memory_limit_bytes() > 0) memory.limit_bytes = request->memory_limit_bytes();
    response->set_embedder_bytes(memory.bytes);
  }
  if (loaded.ok() && (*loaded)->engine) {
    const int64_t thinking_ms = (*loaded)->engine->ThinkingMs();
    if (thinking_ms > kMostThinkingMs) {
      return FinishNow(
          context, absl::UnavailableError(fmt::format("the engine has been at one token for {} s",
                                                      thinking_ms / 1000)));
    }
    Fill((*loaded)->engine->stats(), response);
  }
  if (loaded.ok() && (*loaded)->embedder) {
    response->set_embedded_texts((*loaded)->embedder->embedded());
    const auto calls = static_cast<uint32_t>((*loaded)->embedder->calls());
    response->set_running(response->running() + std::min(calls, 1u));
    response->set_waiting(response->waiting() + calls - std::min(calls, 1u));
  }
  const absl::StatusOr<platform::MemoryUse> memory = platform::OwnMemory();
  if (memory.ok()) {
    response->set_resident_bytes(memory->resident_bytes);
    response->set_peak_resident_bytes(memory->peak_bytes);
  }
  return FinishNow(context, absl::OkStatus());
}

}  // namespace corpgrid::worker
