#include "agent/hosted_worker.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "base/status_macros.h"
#include "fmt/format.h"
#include "job/text.h"
#include "rpc/status.h"
#include "worker/throttled_channel.h"

namespace corpgrid::agent {
namespace {

namespace pb = corpgrid::v1;

constexpr auto kLook = absl::Milliseconds(250);
constexpr int64_t kGraceMs = 2000;
constexpr int kMostSilent = 6;  // questions
constexpr auto kStatsDeadline = std::chrono::seconds(5);

}  // namespace

HostedWorker::HostedWorker(Options options) : options_(std::move(options)) {
  file_bytes_ = options_.order.settings().type().empty() ? options_.model.bytes : 0;
  state_.set_name(options_.order.name());
  state_.set_version(options_.order.version());
  state_.set_state(pb::HostedModel::LOADING);
  thread_ = std::thread([this] { Run(); });
}

HostedWorker::~HostedWorker() {
  Stop();
  thread_.join();
}

void HostedWorker::Stop() {
  const absl::MutexLock lock(&mutex_);
  stop_ = true;
  stops_tools_ = true;
  if (loading_) loading_->TryCancel();
}

pb::HostedModel HostedWorker::State() const {
  const absl::MutexLock lock(&mutex_);
  pb::HostedModel state = state_;
  if (state.state() == pb::HostedModel::READY) {
    state.set_idle_ms(static_cast<uint64_t>(options_.clock->MonotonicMs() - busy_ms_));
  }
  return state;
}

HostedWorker::Memory HostedWorker::MemoryOf() const {
  const absl::MutexLock lock(&mutex_);
  if (state_.state() == pb::HostedModel::FAILED) return {};
  // Until it is known better.
  const uint64_t promised = state_.needs_bytes() > 0 ? state_.needs_bytes() : file_bytes_;
  return {.promised = promised, .unused = promised - std::min(promised, state_.resident_bytes())};
}

std::shared_ptr<rpc::WorkerChannel> HostedWorker::channel() const {
  const absl::MutexLock lock(&mutex_);
  return channel_;
}

void HostedWorker::Run() {
  options_.resources->LowerThisThread("workers");
  absl::StatusOr<std::unique_ptr<worker::WorkerProcess>> worker = Load();
  std::string error(worker.status().message());
  if (worker.ok()) error = Watch(worker->get());
  {
    const absl::MutexLock lock(&mutex_);
    channel_ = nullptr;
    if (!stop_) {
      state_.set_state(pb::HostedModel::FAILED);
      state_.set_error(job::Printable(error));
    }
  }
  if (!error.empty()) spdlog::error("model {}: {}", options_.order.name(), error);
  if (worker.ok()) (*worker)->Stop(kGraceMs);
}

bool HostedWorker::Await(absl::Mutex* turn) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  while (!turn->TryLock()) {
    const absl::MutexLock lock(&mutex_);
    if (mutex_.AwaitWithTimeout(absl::Condition(&stop_), kLook)) return false;
  }
  return true;
}

absl::StatusOr<std::unique_ptr<worker::WorkerProcess>> HostedWorker::Load()
    ABSL_NO_THREAD_SAFETY_ANALYSIS {
  ASSIGN_OR_RETURN(const LocalModel model, Files());
  if (!Await(options_.turn)) return absl::CancelledError("");
  const absl::Cleanup done = [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { options_.turn->Unlock(); };
  {
    const absl::MutexLock lock(&mutex_);
    if (stop_) return absl::CancelledError("");
  }
  std::error_code error;
  std::filesystem::create_directories(options_.folder, error);
  if (error) {
    return absl::UnavailableError(
        fmt::format("cannot make {}: {}", options_.folder, error.message()));
  }
  ASSIGN_OR_RETURN(auto worker, worker::WorkerProcess::Start({.program = options_.program,
                                                              .folder = options_.folder,
                                                              .model = model.path,
                                                              .gpus = options_.gpu_percent > 0}));
  spdlog::info("model {} is being loaded", options_.order.name());
  const absl::Status loaded = LoadInto(*worker, model.path);
  if (loaded.ok()) return worker;
  worker::NoteRefusal(options_.resources,
                      fmt::format("load-{}-{}", options_.order.name(), options_.order.version()),
                      loaded);
  // Its last words tell more than that the call broke off.
  if (absl::IsUnavailable(loaded)) {
    if (const auto ended = worker->Ended()) return absl::UnavailableError(*ended);
  }
  return loaded;
}

absl::StatusOr<LocalModel> HostedWorker::Files() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  const std::string& type = options_.order.settings().type();
  if (type.empty()) return options_.model;
  if (!options_.in_type) return absl::UnimplementedError("types of weights are not changed here");
  if (!Await(options_.making)) return absl::CancelledError("");
  const absl::Cleanup done = [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { options_.making->Unlock(); };
  const auto on_progress = [this](double fraction) {
    const absl::MutexLock lock(&mutex_);
    state_.set_quantised(fraction);
  };
  absl::StatusOr<LocalModel> made =
      options_.in_type(options_.model, type, stops_tools_, on_progress);
  const absl::MutexLock lock(&mutex_);
  state_.clear_quantised();
  if (stop_) return absl::CancelledError("");
  if (made.ok()) file_bytes_ = made->bytes;
  return made;
}

uint64_t HostedWorker::LimitBytes() const {
  const uint64_t own = options_.order.settings().memory_bytes();
  const uint64_t lent = options_.limit_bytes();
  return std::max<uint64_t>(own == 0 ? lent : std::min(lent, own), 1);  // 0 would be no limit
}

absl::Status HostedWorker::LoadInto(const worker::WorkerProcess& worker, const std::string& file) {
  const auto connection = rpc::ChannelToWorker(worker.address());
  pb::LoadRequest request;
  request.set_path(file);
  request.set_sequences(options_.order.settings().sequences());
  request.set_context(options_.order.settings().context());
  request.set_shared_memory(options_.order.settings().shared_memory());
  request.set_memory_limit_bytes(LimitBytes());
  request.set_gpu_percent(options_.gpu_percent);
  pb::LoadResponse response;
  grpc::ClientContext context;
  {
    const absl::MutexLock lock(&mutex_);
    if (stop_) return absl::CancelledError("");
    loading_ = &context;
  }
  const absl::Status status =
      rpc::FromGrpc(pb::Worker::NewStub(connection)->Load(&context, request, &response));
  const absl::MutexLock lock(&mutex_);
  loading_ = nullptr;
  if (stop_) return absl::CancelledError("");
  RETURN_IF_ERROR(status);
  const pb::MemoryEstimate& estimate = response.estimate();
  loaded_bytes_ = estimate.weight_bytes() + estimate.kv_bytes() + estimate.compute_bytes() +
                  estimate.process_bytes() - estimate.gpu_bytes();
  state_.set_needs_bytes(loaded_bytes_);
  state_.set_gpu(response.gpu());
  state_.set_gpu_bytes(estimate.gpu_bytes());
  state_.set_state(pb::HostedModel::READY);
  busy_ms_ = options_.clock->MonotonicMs();
  room_->Loaded(response);
  channel_ = worker::ThrottleCalls(rpc::ConnectWorker(worker.address()), options_.resources, room_);
  connection_ = connection;
  spdlog::info("model {} is ready{}{}", options_.order.name(),
               response.gpu().empty() ? "" : " on " + response.gpu(),
               response.why_no_gpu().empty() ? "" : ", without a GPU: " + response.why_no_gpu());
  return absl::OkStatus();
}

std::string HostedWorker::Watch(worker::WorkerProcess* worker) {
  std::shared_ptr<grpc::Channel> connection;
  {
    const absl::MutexLock lock(&mutex_);
    connection = connection_;
  }
  const auto stub = pb::Worker::NewStub(connection);
  int silent = 0;
  while (true) {
    if (auto ended = worker->Ended()) return *ended;
    {
      const absl::MutexLock lock(&mutex_);
      if (mutex_.AwaitWithTimeout(absl::Condition(&stop_), kLook)) return "";
    }
    pb::GetStatsRequest request;  // embeddings need memory later, when others may have more of it
    request.set_memory_limit_bytes(LimitBytes());
    pb::GetStatsResponse stats;
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kStatsDeadline);
    if (stub->GetStats(&context, request, &stats).ok()) {
      ReadStats(stats);
      silent = 0;
    } else if (++silent == kMostSilent) {
      return "the worker does not answer";
    }
  }
}

void HostedWorker::ReadStats(const pb::GetStatsResponse& stats) {
  room_->Update(stats);
  const absl::MutexLock lock(&mutex_);
  state_.set_running(stats.running());
  state_.set_waiting(stats.waiting() + room_->waiting());
  state_.set_resident_bytes(stats.resident_bytes());
  state_.set_needs_bytes(loaded_bytes_ + stats.embedder_bytes());
  // A short answer may begin and end between two looks.
  const uint64_t answered = stats.answer_tokens() + stats.embedded_texts();
  const bool busy = state_.running() + state_.waiting() > 0 || answered != answered_;
  answered_ = answered;
  if (busy) busy_ms_ = options_.clock->MonotonicMs();
}

}  // namespace corpgrid::agent
