#include "gateway/local_model.h"

#include <unistd.h>

#include <optional>
#include <utility>

#include "absl/time/time.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "corpgrid/v1/worker.grpc.pb.h"
#include "fmt/format.h"
#include "rpc/status.h"
#include "spdlog/spdlog.h"
#include "worker/throttled_channel.h"

namespace corpgrid::gateway {
namespace {

namespace pb = corpgrid::v1;

constexpr absl::Duration kWatchEvery = absl::Milliseconds(50);
constexpr int64_t kGraceMs = 5000;

constexpr int kLooksAStatistic = 20;
constexpr int kMostSilent = 6;                            // statistics, of kStatsDeadline each
constexpr auto kStatsDeadline = std::chrono::seconds(5);  // a busy machine lets it wait

// Whether the worker tells how it is.
bool LookAt(pb::Worker::Stub* stub, worker::AnswerRoom* room) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kStatsDeadline);
  pb::GetStatsResponse stats;
  if (!stub->GetStats(&context, {}, &stats).ok()) return false;
  room->Update(stats);
  return true;
}

}  // namespace

LocalModel::LocalModel(Options options)
    : options_(std::move(options)), created_s_(SystemClock().WallMs() / 1000) {}

absl::StatusOr<std::unique_ptr<LocalModel>> LocalModel::Start(Options options) {
  std::unique_ptr<LocalModel> model(new LocalModel(std::move(options)));
  model->thread_ = std::thread([model = model.get()] { model->Run(); });
  {
    absl::MutexLock lock(&model->mutex_);
    model->mutex_.Await(absl::Condition(&model->tried_));
    if (!model->first_.ok()) return model->first_;
  }
  return model;
}

LocalModel::~LocalModel() { Stop(); }

void LocalModel::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
    if (loading_ != nullptr) loading_->TryCancel();
  }
  if (thread_.joinable()) thread_.join();
}

void LocalModel::Run() {
  options_.resources->LowerThisThread("workers");
  Backoff backoff(static_cast<uint64_t>(getpid()));
  while (true) {
    absl::StatusOr<std::unique_ptr<worker::WorkerProcess>> worker = Host();
    {
      absl::MutexLock lock(&mutex_);
      if (!tried_) first_ = worker.status();
      tried_ = true;
      if (stop_ || !first_.ok()) return;
    }
    std::string how;
    if (worker.ok()) {
      const int64_t began_ms = SystemClock().MonotonicMs();
      std::optional<std::string> ended = Watch(worker->get());
      if (!ended) return;
      how = "the worker " + *std::move(ended);
      if (SystemClock().MonotonicMs() - began_ms > 10'000) backoff.Reset();
    } else {
      how = std::string(worker.status().message());
    }
    const int64_t pause_ms = backoff.NextMs();
    spdlog::error("{}: {}; a new worker starts in {} ms", options_.name, how, pause_ms);
    absl::MutexLock lock(&mutex_);
    why_ = how;
    mutex_.AwaitWithTimeout(absl::Condition(&stop_), absl::Milliseconds(pause_ms));
  }
}

absl::StatusOr<std::unique_ptr<worker::WorkerProcess>> LocalModel::Host() {
  ASSIGN_OR_RETURN(auto worker,
                   worker::WorkerProcess::Start({.program = options_.program,
                                                 .folder = options_.folder,
                                                 .model = options_.load.path(),
                                                 .gpus = options_.load.gpu_percent() > 0}));
  if (absl::Status status = Load(worker->address()); !status.ok()) {
    if (const auto ended = worker->Ended()) {
      return absl::UnavailableError(fmt::format("the worker {}", *ended));
    }
    return status;
  }
  return worker;
}

absl::Status LocalModel::Load(const std::string& address) {
  const auto stub = pb::Worker::NewStub(rpc::ChannelToWorker(address));
  grpc::ClientContext context;
  pb::LoadResponse response;
  {
    absl::MutexLock lock(&mutex_);
    if (stop_) return absl::CancelledError("it is to stop");
    loading_ = &context;
  }
  const grpc::Status status = stub->Load(&context, options_.load, &response);
  absl::MutexLock lock(&mutex_);
  loading_ = nullptr;
  if (!status.ok()) return rpc::FromGrpc(status);
  loaded_ = std::move(response);
  room_->Loaded(loaded_);
  channel_ = worker::ThrottleCalls(rpc::ConnectWorker(address), options_.resources, room_);
  return absl::OkStatus();
}

std::optional<std::string> LocalModel::Watch(worker::WorkerProcess* worker) {
  const auto stub = pb::Worker::NewStub(rpc::ChannelToWorker(worker->address()));
  std::optional<std::string> ended;
  int silent = 0;
  for (int looks = 0; !ended && !StopsWithin(kWatchEvery); ++looks) {
    ended = worker->Ended();
    if (ended || looks % kLooksAStatistic != 0) continue;
    silent = LookAt(stub.get(), room_.get()) ? 0 : silent + 1;
    if (silent == kMostSilent) ended = "does not answer";
  }
  {
    absl::MutexLock lock(&mutex_);
    channel_ = nullptr;
  }
  if (!ended) worker->Stop(kGraceMs);
  return ended;
}

bool LocalModel::StopsWithin(absl::Duration time) {
  absl::MutexLock lock(&mutex_);
  return mutex_.AwaitWithTimeout(absl::Condition(&stop_), time);
}

std::vector<ModelInfo> LocalModel::List() const {
  absl::MutexLock lock(&mutex_);
  return {{.name = options_.name,
           .created_s = created_s_,
           .context = loaded_.context(),
           .chat_template = loaded_.facts().chat_template()}};
}

absl::StatusOr<Model> LocalModel::Find(const std::string& name) const {
  if (name != options_.name) {
    return absl::NotFoundError(
        fmt::format("there is no model \"{}\" here; there is \"{}\"", name, options_.name));
  }
  ModelInfo info = List().front();
  absl::MutexLock lock(&mutex_);
  if (!channel_) {
    return absl::UnavailableError(fmt::format(
        "the model \"{}\" is not there at the moment ({}); a new worker is being started", name,
        why_.empty() ? "its worker has just ended" : why_));
  }
  return Model{std::move(info), channel_};
}

corpgrid::v1::LoadResponse LocalModel::loaded() const {
  absl::MutexLock lock(&mutex_);
  return loaded_;
}

}  // namespace corpgrid::gateway
