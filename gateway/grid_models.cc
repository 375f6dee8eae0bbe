#include "gateway/grid_models.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <thread>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "corpgrid/v1/worker.pb.h"
#include "fmt/format.h"
#include "rpc/connect.h"
#include "rpc/dispose.h"
#include "rpc/protocol.h"
#include "rpc/status.h"

namespace corpgrid::gateway {
namespace {

namespace pb = corpgrid::v1;

constexpr auto kRefresh = absl::Seconds(1);
constexpr int64_t kListDeadlineMs = 5000;
constexpr int64_t kDescribeDeadlineMs = 10'000;

// Deletes itself when the call is over.
class Reactor final : public grpc::ClientReadReactor<pb::CallResponse> {
 public:
  Reactor(std::shared_ptr<grpc::ClientContext> context, pb::CallRequest request,
          std::shared_ptr<rpc::CallListener> listener)
      : context_(std::move(context)),
        request_(std::move(request)),
        listener_(std::move(listener)) {}

  void Begin(pb::ModelHosting::Stub* stub) {
    stub->async()->Call(context_.get(), &request_, this);
    StartRead(&response_);
    StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    listener_->OnResponse(std::move(*response_.mutable_response()));
    StartRead(&response_);
  }

  void OnDone(const grpc::Status& status) override {
    listener_->OnEnd(rpc::FromGrpc(status));
    rpc::DisposeElsewhere(std::move(context_));
    delete this;
  }

 private:
  std::shared_ptr<grpc::ClientContext> context_;
  const pb::CallRequest request_;
  const std::shared_ptr<rpc::CallListener> listener_;
  pb::CallResponse response_;
};

class Call final : public rpc::WorkerCall {
 public:
  explicit Call(std::shared_ptr<grpc::ClientContext> context) : context_(std::move(context)) {}
  ~Call() override { context_->TryCancel(); }

 private:
  const std::shared_ptr<grpc::ClientContext> context_;
};

}  // namespace

// To the scheduler that leads the grid at the moment.
class GridConnection {
 public:
  GridConnection(const std::shared_ptr<grpc::Channel>& channel, rpc::GridFile grid)
      : grid_(std::move(grid)), stub_(pb::ModelHosting::NewStub(channel)) {}

  const rpc::GridFile& grid() const { return grid_; }
  pb::ModelHosting::Stub* stub() const { return stub_.get(); }

  void Prepare(grpc::ClientContext* context, int64_t deadline_ms) const {
    rpc::PrepareCall(context, deadline_ms, rpc::kTokenKey, grid_.token);
  }
  void Authenticate(grpc::ClientContext* context) const {
    rpc::TellProtocol(context);
    context->AddMetadata(rpc::kTokenKey, grid_.token);
  }

 private:
  const rpc::GridFile grid_;
  const std::unique_ptr<pb::ModelHosting::Stub> stub_;
};

namespace {

// To whoever hosts a model of the grid.
class GridChannel final : public rpc::WorkerChannel {
 public:
  GridChannel(std::shared_ptr<GridConnection> connection, std::string model)
      : connection_(std::move(connection)), model_(std::move(model)) {}

  std::unique_ptr<rpc::WorkerCall> Start(std::string_view method, const std::string& request,
                                         std::shared_ptr<rpc::CallListener> listener) override {
    pb::CallRequest call;
    call.set_model(model_);
    call.set_method(std::string(method));
    call.set_request(request);
    auto context = std::make_shared<grpc::ClientContext>();
    connection_->Authenticate(context.get());
    auto* reactor = new Reactor(context, std::move(call), std::move(listener));
    auto handle = std::make_unique<Call>(std::move(context));
    reactor->Begin(connection_->stub());
    return handle;
  }

 private:
  const std::shared_ptr<GridConnection> connection_;
  const std::string model_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<GridModels>> GridModels::Start(const std::string& data_folder) {
  std::unique_ptr<GridModels> models(new GridModels(data_folder));
  RETURN_IF_ERROR(models->Connect());
  models->thread_ = std::thread([grid = models.get()] { grid->Run(); });
  return models;
}

GridModels::~GridModels() {
  {
    const absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

absl::Status GridModels::Connect() {
  ASSIGN_OR_RETURN(rpc::GridFile grid, rpc::GridFile::Read(data_folder_));
  const absl::MutexLock lock(&mutex_);
  if (connection_ && connection_->grid().address == grid.address &&
      connection_->grid().token == grid.token) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const auto channel, rpc::Connect(grid.address));
  connection_ = std::make_shared<GridConnection>(channel, std::move(grid));
  return absl::OkStatus();
}

void GridModels::Run() {
  std::map<std::string, std::thread> asking;  // one that does not answer holds up no other
  while (true) {
    absl::Status reached = Connect();
    if (reached.ok()) reached = Refresh();
    std::set<std::string> wanted, answered;
    {
      const absl::MutexLock lock(&mutex_);
      if (reached_.ok() != reached.ok()) {
        reached.ok() ? spdlog::info("the grid is back")
                     : spdlog::warn("the grid does not answer: {}", std::string(reached.message()));
      }
      reached_ = reached;
      wanted.swap(wanted_);
      answered.swap(answered_);
    }
    for (const std::string& name : answered) {
      asking.at(name).join();
      asking.erase(name);
    }
    for (const std::string& name : wanted) {
      if (asking.contains(name)) continue;  // who still wants it after that answer asks again
      asking[name] = std::thread([this, name] {
        Describe(name);
        const absl::MutexLock lock(&mutex_);
        answered_.insert(name);
      });
    }
    const absl::MutexLock lock(&mutex_);
    if (mutex_.AwaitWithTimeout(absl::Condition(&stop_), kRefresh)) break;
  }
  for (auto& [name, thread] : asking) thread.join();
}

absl::Status GridModels::Refresh() {
  std::shared_ptr<GridConnection> connection;
  {
    const absl::MutexLock lock(&mutex_);
    connection = connection_;
  }
  grpc::ClientContext context;
  connection->Prepare(&context, kListDeadlineMs);
  pb::ListModelsResponse list;
  RETURN_IF_ERROR(rpc::FromGrpc(connection->stub()->List(&context, {}, &list)));
  const absl::MutexLock lock(&mutex_);
  std::map<std::string, Known> models;
  for (const pb::LoadedModel& model : list.models()) {
    Known& known = models[model.name()];
    const auto before = models_.find(model.name());
    if (before != models_.end() && before->second.digest == model.digest()) {
      known = before->second;
    } else {
      known.info = {.name = model.name(),
                    .created_s = absl::ToUnixSeconds(absl::Now()),
                    .context = 0,
                    .chat_template = ""};
      known.digest = model.digest();
    }
    const bool ready = std::any_of(model.replicas().begin(), model.replicas().end(),
                                   [](const pb::Replica& replica) {
                                     return replica.hosted().state() == pb::HostedModel::READY;
                                   });
    // A change of the context loads it anew.
    if (std::exchange(known.context, model.settings().context()) != model.settings().context()) {
      known.described = false;
    }
    if (ready && !known.described) wanted_.insert(model.name());
  }
  models_ = std::move(models);
  return absl::OkStatus();
}

void GridModels::Describe(const std::string& name) {
  std::shared_ptr<GridConnection> connection;
  Known asked;
  {
    const absl::MutexLock lock(&mutex_);
    const auto found = models_.find(name);
    if (found == models_.end()) return;
    asked = found->second;
    connection = connection_;
  }
  grpc::ClientContext context;
  connection->Prepare(&context, kDescribeDeadlineMs);
  pb::CallRequest request;
  request.set_model(name);
  request.set_method("Describe");
  const auto stream = connection->stub()->Call(&context, request);
  pb::CallResponse response;
  pb::LoadResponse loaded;
  const bool told = stream->Read(&response) && loaded.ParseFromString(response.response());
  context.TryCancel();
  stream->Finish();
  const absl::MutexLock lock(&mutex_);
  const auto found = models_.find(name);
  if (!told || found == models_.end()) return;
  // It was loaded anew meanwhile: the answer may be of what it was before.
  if (found->second.digest != asked.digest || found->second.context != asked.context) return;
  found->second.info.context = loaded.context();
  found->second.info.chat_template = loaded.facts().chat_template();
  found->second.described = true;
}

std::vector<ModelInfo> GridModels::List() const {
  const absl::MutexLock lock(&mutex_);
  std::vector<ModelInfo> models;
  for (const auto& [name, known] : models_) models.push_back(known.info);
  return models;
}

absl::Status GridModels::Health() const {
  const absl::MutexLock lock(&mutex_);
  return reached_;
}

absl::StatusOr<Model> GridModels::Find(const std::string& name) const {
  const absl::MutexLock lock(&mutex_);
  const auto found = models_.find(name);
  if (found == models_.end()) {
    if (!reached_.ok()) return absl::UnavailableError("the grid does not answer at the moment");
    std::string names;
    for (const auto& [known, model] : models_) {
      names += fmt::format("{}\"{}\"", names.empty() ? "" : ", ", known);
    }
    return absl::NotFoundError(fmt::format("there is no model \"{}\" here; there is {}", name,
                                           names.empty() ? "none" : names));
  }
  if (!found->second.described) {
    wanted_.insert(name);  // which wakes it
    return absl::UnavailableError(fmt::format("model {} is being loaded; try again soon", name));
  }
  return Model{found->second.info, std::make_shared<GridChannel>(connection_, name)};
}

}  // namespace corpgrid::gateway
