#include "agent/model_inbox.h"

#include <utility>

#include "fmt/format.h"

namespace corpgrid::agent {
namespace {

namespace pb = corpgrid::v1;

constexpr size_t kMaxWaiting = 16;

class NoCall final : public rpc::WorkerCall {};

}  // namespace

ModelInbox::ModelInbox(ModelFolder folder, resources::ResourceManager* resources)
    : folder_(std::move(folder)), resources_(resources), thread_([this] { Run(); }) {}

ModelInbox::~ModelInbox() {
  {
    const absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  thread_.join();
}

std::unique_ptr<rpc::WorkerCall> ModelInbox::Start(std::string_view method,
                                                   const std::string& request,
                                                   std::shared_ptr<rpc::CallListener> listener) {
  bool full = false;
  {
    const absl::MutexLock lock(&mutex_);
    full = waiting_.size() >= kMaxWaiting;
    if (!full) waiting_.push_back({std::string(method), request, listener});
  }
  if (full) {
    listener->OnEnd(absl::ResourceExhaustedError(fmt::format(
        "{} parts of models wait for the disk of this device; try again later", kMaxWaiting)));
  }
  return std::make_unique<NoCall>();
}

void ModelInbox::Run() {
  if (resources_) resources_->LowerThisThread("received models");
  while (true) {
    Call call;
    {
      const absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &ModelInbox::HasSomething));
      if (waiting_.empty()) return;
      call = std::move(waiting_.front());
      waiting_.pop_front();
    }
    call.listener->OnEnd(stop_ ? absl::UnavailableError("the device is stopping") : Answer(call));
  }
}

absl::Status ModelInbox::Answer(const Call& call) const {
  pb::TakeModelRequest take;
  pb::RemoveModelRequest remove;
  if (call.method == "TakeModel" && !receives()) {
    return absl::FailedPreconditionError("its owner lends no disk for models");
  }
  if (call.method == "TakeModel" && take.ParseFromString(call.request)) {
    const absl::StatusOr<pb::TakeModelResponse> response = folder_.take(take, stop_);
    if (response.ok()) call.listener->OnResponse(response->SerializeAsString());
    return response.status();
  }
  if (call.method == "RemoveModel" && folder_.remove && remove.ParseFromString(call.request)) {
    const absl::Status removed = folder_.remove(remove.model());
    if (removed.ok()) {
      call.listener->OnResponse(pb::RemoveModelResponse().SerializeAsString());
    }
    return removed;
  }
  return absl::InvalidArgumentError("agents are not asked for that");
}

}  // namespace corpgrid::agent
