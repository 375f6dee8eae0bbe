#include "agent/relay.h"

#include <spdlog/spdlog.h>

#include <map>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "agent/outbox.h"
#include "base/backoff.h"
#include "base/text.h"
#include "fmt/format.h"
#include "job/text.h"
#include "rpc/connect.h"
#include "rpc/protocol.h"
#include "rpc/status.h"

namespace corpgrid::agent {
namespace {

namespace pb = corpgrid::v1;

using Stream = grpc::ClientReaderWriterInterface<pb::RelayUp, pb::RelayDown>;

constexpr int64_t kReportDeadlineMs = 10'000;
// One that the stream would not take would end everybody's calls.
constexpr size_t kMaxAnswerBytes = rpc::kMaxMessageBytes - 4096;
constexpr int64_t kOldSchedulerMs = 60'000;  // between questions to one that hosts no models

void PutEnd(Outbox* outbox, uint64_t call, const absl::Status& status) {
  pb::RelayUp up;
  up.set_call(call);
  up.mutable_end()->set_code(static_cast<uint32_t>(status.code()));
  up.mutable_end()->set_message(job::Printable(std::string(status.message())));
  *up.mutable_end()->mutable_facts() = rpc::FactsOf(status);
  outbox->Put(std::move(up));
}

// Passes on what a worker answers to one call.
class Answers final : public rpc::CallListener {
 public:
  Answers(uint64_t call, std::shared_ptr<Outbox> outbox)
      : call_(call), outbox_(std::move(outbox)) {}

  void OnResponse(std::string response) override {
    if (over()) return;
    if (response.size() > kMaxAnswerBytes) {
      OnEnd(absl::OutOfRangeError(
          fmt::format("the answer has {}, more than the {} that are "
                      "passed on",
                      FormatBytes(response.size()), FormatBytes(kMaxAnswerBytes))));
      return;
    }
    if (outbox_->IsFullFor(call_)) {
      OnEnd(absl::ResourceExhaustedError("the device makes answers faster than it can send them"));
      return;
    }
    pb::RelayUp up;
    up.set_call(call_);
    up.set_response(std::move(response));
    outbox_->Put(std::move(up));
  }
  void OnEnd(absl::Status status) override {
    if (!over_.exchange(true)) PutEnd(outbox_.get(), call_, status);
  }
  bool over() const { return over_.load(std::memory_order_acquire); }

 private:
  const uint64_t call_;
  const std::shared_ptr<Outbox> outbox_;
  std::atomic<bool> over_ = false;
};

// The calls of one stream.
class Calls {
 public:
  Calls(const ModelHost* models, std::shared_ptr<Outbox> outbox)
      : models_(models), outbox_(std::move(outbox)) {}

  void Take(const pb::RelayDown& down) {
    std::erase_if(calls_, [](const auto& entry) { return entry.second.answers->over(); });
    if (down.has_cancel()) {
      calls_.erase(down.call());
    } else if (down.has_start()) {
      Start(down.call(), down.start());
    }
  }

 private:
  struct Call {
    std::shared_ptr<Answers> answers;
    std::unique_ptr<rpc::WorkerCall> call;
  };

  void Start(uint64_t id, const pb::RelayStart& start) {
    const bool for_agent = rpc::IsForAgent(start.method());
    if (!for_agent && !rpc::IsAnswer(start.method())) {
      PutEnd(outbox_.get(), id, absl::InvalidArgumentError("workers are not asked for that"));
      return;
    }
    const auto channel = for_agent ? models_->inbox() : models_->ChannelTo(start.model());
    if (!channel) {
      PutEnd(outbox_.get(), id,
             absl::UnavailableError(
                 fmt::format("model {} is not hosted here any more", start.model())));
      return;
    }
    Call& call = calls_[id];
    call.answers = std::make_shared<Answers>(id, outbox_);
    call.call = channel->Start(start.method(), start.request(), call.answers);
  }

  const ModelHost* const models_;
  const std::shared_ptr<Outbox> outbox_;
  std::map<uint64_t, Call> calls_;
};

// Until the stream ends.
grpc::Status ServeOne(Stream* stream, const ModelHost* models) {
  auto outbox = std::make_shared<Outbox>();
  std::thread writing([&] {
    while (const std::optional<pb::RelayUp> up = outbox->Take()) {
      if (!stream->Write(*up)) return;
    }
  });
  {
    Calls calls(models, outbox);
    pb::RelayDown down;
    while (stream->Read(&down)) calls.Take(down);
  }
  outbox->Close();
  writing.join();
  return stream->Finish();
}

}  // namespace

void RunRelay(pb::Hosts::StubInterface* hosts, SchedulerClient* scheduler, const ModelHost* models,
              StopSignal* stop) {
  Backoff backoff(reinterpret_cast<uintptr_t>(models));
  while (!stop->stopped()) {
    const auto registration = scheduler->CurrentRegistration();
    if (registration.ok()) {
      grpc::ClientContext context;
      rpc::TellProtocol(&context);
      context.AddMetadata(rpc::kSessionKey, (*registration)->session);
      const StopSignal::Scope scope(stop, &context);
      const int64_t began_ms = SystemClock().MonotonicMs();
      const auto stream = hosts->Relay(&context);
      const grpc::Status status = ServeOne(stream.get(), models);
      // The heartbeat renews a session that is not known any more.
      if (SystemClock().MonotonicMs() - began_ms > 10'000) backoff.Reset();
      if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED) {
        stop->WaitFor(kOldSchedulerMs);
      }
    }
    stop->WaitFor(backoff.NextMs());
  }
}

void RunHosting(pb::Hosts::StubInterface* hosts, SchedulerClient* scheduler, ModelHost* models,
                const ConditionFunction& condition, StopSignal* stop) {
  int64_t wait_ms = 0;
  while (!stop->WaitFor(wait_ms)) {
    wait_ms = 1000;
    const auto registration = scheduler->CurrentRegistration();
    if (!registration.ok()) continue;
    wait_ms = (*registration)->heartbeat_ms;
    pb::HostReport report = models->Report();
    *report.mutable_condition() = condition();
    pb::HostOrders orders;
    grpc::ClientContext context;
    rpc::PrepareCall(&context, kReportDeadlineMs, rpc::kSessionKey, (*registration)->session);
    const StopSignal::Scope scope(stop, &context);
    const grpc::Status status = hosts->Report(&context, report, &orders);
    if (status.ok()) {
      models->Follow(orders);
    } else if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED) {
      spdlog::warn("the scheduler is older than this agent and hosts no models");
      wait_ms = kOldSchedulerMs;
    }
  }
}

}  // namespace corpgrid::agent
