#include "worker/throttled_channel.h"

#include <grpcpp/alarm.h>

#include <cmath>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "corpgrid/v1/worker.pb.h"
#include "fmt/format.h"
#include "rpc/status.h"

namespace corpgrid::worker {
namespace {

namespace pb = corpgrid::v1;
using resources::ResourceManager;
using resources::Throttle;

constexpr int64_t kLongestWaitUs = 60'000'000;

// A call that has to wait for its turn.
class WaitingCall : public std::enable_shared_from_this<WaitingCall> {
 public:
  struct Parts {
    std::shared_ptr<rpc::WorkerChannel> channel;
    ResourceManager* resources;
    std::shared_ptr<AnswerRoom> room;
    ResourceManager::Request asked;
    Throttle::Slot slot;
    std::string method;
    std::string request;
    std::shared_ptr<rpc::CallListener> listener;
  };

  explicit WaitingCall(Parts parts) : parts_(std::move(parts)) { parts_.room->Waits(); }

  void Wait() {
    const gpr_timespec when = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                           gpr_time_from_micros(parts_.slot.wait_us, GPR_TIMESPAN));
    const absl::MutexLock lock(&mutex_);
    // The alarm keeps its function until it goes itself: it must not keep this.
    alarm_.Set(when, [weak = weak_from_this()](bool) {
      if (const auto self = weak.lock()) self->Begin();
    });
  }

  void Cancel() {
    std::unique_ptr<rpc::WorkerCall> begun;
    {
      const absl::MutexLock lock(&mutex_);
      begun = std::move(call_);
      if (std::exchange(over_, true)) return;
    }
    parts_.room->WaitsNoMore();
    parts_.resources->GiveBack(parts_.slot);
    parts_.listener->OnEnd(absl::CancelledError("cancelled while it waited for its turn"));
  }

 private:
  void Begin() {
    const absl::MutexLock lock(&mutex_);
    if (std::exchange(over_, true)) return;
    parts_.resources->Began(parts_.asked, parts_.slot);
    call_ = parts_.channel->Start(parts_.method, parts_.request, parts_.listener);
    parts_.room->WaitsNoMore();
  }

  const Parts parts_;
  absl::Mutex mutex_;
  grpc::Alarm alarm_ ABSL_GUARDED_BY(mutex_);
  bool over_ ABSL_GUARDED_BY(mutex_) = false;  // the wait
  std::unique_ptr<rpc::WorkerCall> call_ ABSL_GUARDED_BY(mutex_);
};

class Handle final : public rpc::WorkerCall {
 public:
  explicit Handle(std::shared_ptr<WaitingCall> call) : call_(std::move(call)) {}
  ~Handle() override { call_->Cancel(); }

 private:
  const std::shared_ptr<WaitingCall> call_;
};

// Counts what is refused for want of memory.
class RefusalListener final : public rpc::CallListener {
 public:
  RefusalListener(ResourceManager* resources, std::string id,
                  std::shared_ptr<rpc::CallListener> listener)
      : resources_(resources), id_(std::move(id)), listener_(std::move(listener)) {}

  void OnResponse(std::string response) override { listener_->OnResponse(std::move(response)); }
  void OnEnd(absl::Status status) override {
    NoteRefusal(resources_, id_, status);
    listener_->OnEnd(std::move(status));
  }

 private:
  ResourceManager* const resources_;
  const std::string id_;
  const std::shared_ptr<rpc::CallListener> listener_;
};

class NoCall final : public rpc::WorkerCall {};

class ThrottledChannel final : public rpc::WorkerChannel {
 public:
  ThrottledChannel(std::shared_ptr<rpc::WorkerChannel> channel, ResourceManager* resources,
                   std::shared_ptr<AnswerRoom> room)
      : channel_(std::move(channel)), resources_(resources), room_(std::move(room)) {}

  std::unique_ptr<rpc::WorkerCall> Start(std::string_view method, const std::string& request,
                                         std::shared_ptr<rpc::CallListener> listener) override {
    ResourceManager::Request asked;
    asked.kind = ResourceManager::Kind::kModel;
    uint32_t answers = 1;
    if (method == "Generate") {
      pb::GenerateRequest message;
      message.ParseFromString(request);
      asked.id = message.request_id();
      answers = message.choices();
    } else if (method == "Embed") {
      pb::EmbedRequest message;
      message.ParseFromString(request);
      asked.id = message.request_id();
      listener = std::make_shared<RefusalListener>(resources_, asked.id, std::move(listener));
    } else {
      return channel_->Start(method, request, std::move(listener));
    }
    room_->Tell(answers, &asked);
    const Throttle::Slot slot = resources_->Reserve(asked);
    if (slot.wait_us == 0) {
      resources_->Began(asked, slot);
      return channel_->Start(method, request, std::move(listener));
    }
    if (slot.wait_us > kLongestWaitUs) {
      resources_->GiveBack(slot);
      const int64_t wait_s = slot.wait_us / 1'000'000;
      pb::ErrorFacts facts;
      facts.set_retry_after_s(wait_s);
      listener->OnEnd(rpc::WithFacts(
          absl::ResourceExhaustedError(fmt::format(
              "the device's owner lets {} requests a second begin, and those of the next {} s are "
              "taken; try again later",
              resources_->limits().requests_per_second, wait_s)),
          facts));
      return std::make_unique<NoCall>();
    }
    auto call = std::make_shared<WaitingCall>(WaitingCall::Parts{.channel = channel_,
                                                                 .resources = resources_,
                                                                 .room = room_,
                                                                 .asked = std::move(asked),
                                                                 .slot = slot,
                                                                 .method = std::string(method),
                                                                 .request = request,
                                                                 .listener = std::move(listener)});
    call->Wait();
    return std::make_unique<Handle>(std::move(call));
  }

 private:
  const std::shared_ptr<rpc::WorkerChannel> channel_;
  ResourceManager* const resources_;
  const std::shared_ptr<AnswerRoom> room_;
};

}  // namespace

void NoteRefusal(ResourceManager* resources, const std::string& id, const absl::Status& status) {
  const pb::ErrorFacts facts = rpc::FactsOf(status);
  if (facts.needs_bytes() == 0) return;
  resources->NoteRefusal({.kind = ResourceManager::Kind::kModel,
                          .id = id,
                          .estimated_bytes = facts.needs_bytes(),
                          .available_bytes = facts.free_bytes()});
}

std::shared_ptr<rpc::WorkerChannel> ThrottleCalls(std::shared_ptr<rpc::WorkerChannel> channel,
                                                  ResourceManager* resources,
                                                  std::shared_ptr<AnswerRoom> room) {
  return std::make_shared<ThrottledChannel>(std::move(channel), resources, std::move(room));
}

}  // namespace corpgrid::worker
