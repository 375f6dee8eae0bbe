#include "sim/scheduler.h"

#include <cstring>
#include <utility>

#include "sim/tapped_store.h"

namespace corpgrid::sim {
namespace {

constexpr int64_t kRetryMs = 500;  // the daemon's, after it could not read its state
constexpr int64_t kMaxBatchDelayMs = 4;
constexpr int64_t kMaxCompareMs = 2'000;

template <typename Body>
DeviceId* DeviceIn(Body* body) {
  if constexpr (requires { body->device.value; }) return &body->device;
  return nullptr;
}

}  // namespace

void Scheduler::Start() {
  absl::StatusOr<std::unique_ptr<store::Store>> opened = parts_.storage->Open();
  if (opened.ok()) {
    store_ = std::make_unique<TappedStore>(*std::move(opened), parts_.checker, parts_.seams);
    if (parts_.faults->Strike(Fault::kReadError)) parts_.storage->FailNextLoad();
    auto grid = store::DurableGrid::Load(config_, store_.get(), &clock_, [this] {
      std::array<uint8_t, 32> seed;
      const uint64_t words[4] = {random_.Next(), random_.Next(), random_.Next(), random_.Next()};
      std::memcpy(seed.data(), words, sizeof words);
      return seed;
    });
    if (grid.ok()) {
      grid_ = *std::move(grid);
      Reloaded();
      Sweep();
      parts_.events->Add(parts_.events->now_ms() + tick_ms_, EventKind::kTick, 0, epoch_);
      return;
    }
    parts_.checker->CannotLoad(grid.status());
    store_.reset();
  } else {
    parts_.checker->CannotLoad(opened.status());
  }
  parts_.storage->Crash(false, false);
  parts_.events->Add(parts_.events->now_ms() + kRetryMs, EventKind::kSchedulerStart);
}

void Scheduler::Reloaded() {
  grants_.clear();
  for (const core::Lease& lease : grid_->grid().LiveLeases()) {
    grants_[lease.attempt] = {lease.device, lease.token};
  }
  parts_.checker->Reloaded(grid_->grid());
  questions_.clear();
  for (const core::Comparison& comparison : grid_->grid().OpenComparisons()) Compare(comparison);
  for (const auto& [device, poll] : std::exchange(polls_, {})) {
    parts_.network->Send(Answer{.node = poll.node,
                                .call = poll.call,
                                .session = 0,
                                .reply = absl::UnavailableError("read back"),
                                .leases = {},
                                .progress = {}});
  }
}

void Scheduler::Receive(Request request) {
  if (!grid_) return;  // Nobody listens.
  const bool registers = std::holds_alternative<core::RegisterDevice>(request.body);
  if (request.node < agents_ && !registers) {
    const auto session = sessions_.find(request.session);
    if (session == sessions_.end()) {
      AnswerCall(request, absl::UnauthenticatedError("register first"));
      return;
    }
    const DeviceId device = session->second;
    std::visit(
        [&](auto& body) {
          if (DeviceId* id = DeviceIn(&body)) *id = device;
        },
        request.body);
    if (std::holds_alternative<core::Poll>(request.body)) {
      WaitingPoll& poll = polls_[device];
      if (poll.call != 0 && poll.call != request.call) {
        Request older;
        older.node = poll.node;
        older.call = poll.call;
        AnswerCall(older, absl::AbortedError("the device polls again"));
      }
      poll = {request.node, request.call, parts_.events->now_ms() + request.wait_ms};
    } else if (auto* submit = std::get_if<core::SubmitResults>(&request.body)) {
      for (size_t i = 0; i < submit->results.size(); ++i) {
        core::HandedIn& in = submit->results[i];
        in.proof = CheckResult(device, request.node, in, request.signatures[i]);
      }
    }
  }
  Enqueue(std::move(request));
}

void Scheduler::Enqueue(Request request) {
  queue_.push_back(std::move(request));
  if (std::exchange(batch_due_, true)) return;
  const int64_t at_ms = parts_.events->now_ms() + random_.Between(0, kMaxBatchDelayMs);
  parts_.events->Add(at_ms, EventKind::kBatch, 0, epoch_);
}

core::Proof Scheduler::CheckResult(DeviceId device, uint32_t node, const core::HandedIn& in,
                                   const Signature& signature) const {
  const auto grant = grants_.find(in.row.attempt);
  if (grant == grants_.end()) return core::Proof::kBadSignature;
  if (signature.tampered || signature.signer != node || signature.attempt != in.row.attempt ||
      signature.lease_token != grant->second.token || grant->second.device != device) {
    return core::Proof::kBadSignature;
  }
  return signature.staged ? core::Proof::kGood : core::Proof::kBytesMissing;
}

void Scheduler::OnBatch(uint64_t epoch) {
  if (epoch != epoch_ || !grid_) return;
  const int64_t now_ms = parts_.events->now_ms();
  if (now_ms < stalled_until_ms_) {
    parts_.events->Add(stalled_until_ms_, EventKind::kBatch, 0, epoch_);
    return;
  }
  RunBatch(false);
}

void Scheduler::OnTick(uint64_t epoch) {
  if (epoch != epoch_ || !grid_) return;
  const int64_t now_ms = parts_.events->now_ms();
  parts_.events->Add(std::max(now_ms + tick_ms_, stalled_until_ms_), EventKind::kTick, 0, epoch_);
  if (now_ms < stalled_until_ms_) return;
  EndOldPolls();
  RunBatch(true);
}

void Scheduler::RunBatch(bool tick) {
  if (unresolved_ && !ReadBack()) return;
  batch_due_ = false;
  Batch batch{std::exchange(queue_, {}), {}};
  if (tick) batch.requests.emplace_back().body = core::Tick{};
  if (batch.requests.empty()) return;
  std::vector<Body> bodies;
  bodies.reserve(batch.requests.size());
  for (const Request& request : batch.requests) {
    bodies.push_back(request.body);
    if (parts_.seams) parts_.seams->BeforeApply(&bodies.back());
  }
  batch.effects = grid_->Apply(std::move(bodies));
  for (core::Effects& effects : batch.effects) {
    if (parts_.seams) parts_.seams->AfterApply(&effects);
  }
  parts_.checker->Applied(batch.requests, batch.effects, grid_->grid().meta().time_ms);
  if (parts_.seams && parts_.seams->DeletesEarly()) {
    for (const core::Effects& effects : batch.effects) {
      for (const JobId job : effects.removed) Delete(job);
    }
  }
  const bool early = parts_.seams && parts_.seams->RepliesEarly();
  if (early) Release(batch);
  if (Commit(&batch) && !early) Release(batch);
}

bool Scheduler::Commit(Batch* batch) {
  if (parts_.faults->Strike(Fault::kCrashBeforeCommit)) {
    Crash();
    return false;
  }
  if (parts_.faults->Strike(Fault::kCrashInsideCommit)) {
    parts_.storage->FailNextCommit(Fault::kCrashInsideCommit);
  }
  for (const Fault fault :
       {Fault::kDiskFull, Fault::kDiskError, Fault::kSyncError, Fault::kCommitOutcomeUnknown}) {
    if (parts_.faults->Strike(fault)) parts_.storage->FailNextCommit(fault);
  }
  const absl::Status status = grid_->Commit();
  if (parts_.storage->dead()) {  // Nobody lives to hear what came of it.
    Crash();
    return false;
  }
  if (!status.ok()) {
    unresolved_ = std::move(*batch);
    if (parts_.faults->Strike(Fault::kReadError)) parts_.storage->FailNextLoad();
    ReadBack();
    return false;
  }
  if (parts_.faults->Strike(Fault::kCrashAfterCommit)) {
    Crash();
    return false;
  }
  return true;
}

bool Scheduler::ReadBack() {
  const absl::StatusOr<bool> landed = grid_->Reload();
  if (!landed.ok()) {
    parts_.checker->CannotLoad(landed.status());
    batch_due_ = true;
    parts_.events->Add(parts_.events->now_ms() + kRetryMs, EventKind::kBatch, 0, epoch_);
    return false;
  }
  const Batch batch = *std::exchange(unresolved_, std::nullopt);
  Reloaded();
  if (*landed) {
    Release(batch);
    return true;
  }
  for (const Request& request : batch.requests) {
    AnswerCall(request, absl::UnavailableError("the change was not made"));
  }
  return true;
}

void Scheduler::Release(const Batch& batch) {
  for (size_t i = 0; i < batch.requests.size(); ++i) {
    const Request& request = batch.requests[i];
    const core::Effects& effects = batch.effects[i];
    parts_.checker->Released(request, effects);
    for (const AttemptId id : effects.ended) grants_.erase(id);
    const auto* submitted = std::get_if<core::Submitted>(&effects.reply);
    if (submitted && submitted->job && std::holds_alternative<core::SubmitJob>(request.body)) {
      owners_.insert(submitted->job);
    }
    for (const JobId job : effects.removed) Delete(job);
    for (const core::Comparison& comparison : effects.compare) Compare(comparison);
    Deliver(effects.leases);
    const bool polls = std::holds_alternative<core::Poll>(request.body);
    const auto* status = std::get_if<absl::Status>(&effects.reply);
    if (polls && (!status || status->ok())) continue;  // Leases are its answer.
    AnswerCall(request, effects.reply);
  }
}

void Scheduler::Compare(const core::Comparison& comparison) {
  const uint64_t question = next_question_++;
  questions_[question] = comparison;
  const int64_t at_ms = parts_.events->now_ms() + random_.Between(0, kMaxCompareMs);
  parts_.events->Add(at_ms, EventKind::kCompared, 0, question);
}

void Scheduler::OnCompared(uint64_t question) {
  const auto found = questions_.find(question);
  if (found == questions_.end() || !grid_) return;  // Of an earlier life.
  const core::Comparison comparison = std::move(found->second);
  questions_.erase(found);
  core::Compared compared{.attempt = comparison.result.attempt};
  for (const core::Comparison::Side& other : comparison.others) {
    if (World::IsClose(comparison.result.outputs, other.outputs)) {
      compared.close.push_back(other.attempt);
    } else {
      compared.difference = "out";
    }
  }
  Request request;
  request.node = agents_;
  request.body = std::move(compared);
  if (parts_.faults->Strike(Fault::kAnsweredTwice)) Enqueue(request);
  Enqueue(std::move(request));
}

void Scheduler::Deliver(const std::vector<core::Lease>& leases) {
  for (size_t i = 0; i < leases.size();) {
    const DeviceId device = leases[i].device;
    Answer answer;
    for (; i < leases.size() && leases[i].device == device; ++i) {
      grants_[leases[i].attempt] = {device, leases[i].token};
      answer.leases.push_back(leases[i]);
    }
    const auto poll = polls_.find(device);
    if (poll == polls_.end()) continue;  // It has gone; its next poll gets them.
    answer.node = poll->second.node;
    answer.call = poll->second.call;
    answer.reply = absl::OkStatus();
    polls_.erase(poll);
    parts_.network->Send(std::move(answer));
  }
}

void Scheduler::AnswerCall(const Request& request, core::Reply reply) {
  if (const auto* stop = std::get_if<core::StopPolling>(&request.body)) {
    // The core has heard; the poll that it was about ends with nothing.
    const auto poll = polls_.find(stop->device);
    if (poll == polls_.end() || poll->second.call != request.call) return;
    polls_.erase(poll);
  } else if (request.call == 0) {
    return;  // The scheduler's own.
  }
  Answer answer;
  answer.node = request.node;
  answer.call = request.call;
  if (const auto* registered = std::get_if<core::Registered>(&reply)) {
    answer.session = next_session_++;
    sessions_[answer.session] = registered->device;
  }
  const auto* submitted = std::get_if<core::Submitted>(&reply);
  if (submitted && submitted->job && std::holds_alternative<core::FindJob>(request.body)) {
    const absl::StatusOr<core::JobRow> row = store_->Job(submitted->job);
    if (row.ok()) {
      answer.progress = row->progress;
    } else if (absl::IsNotFound(row.status()) && !parts_.checker->IsRemoved(submitted->job)) {
      parts_.checker->Fail("a job that the core knows is not in the store");
    }
  }
  answer.reply = std::move(reply);
  parts_.network->Send(std::move(answer));
}

void Scheduler::EndOldPolls() {
  const int64_t now_ms = parts_.events->now_ms();
  for (const auto& [device, poll] : polls_) {
    if (poll.deadline_ms > now_ms) continue;
    Request stop;
    stop.node = poll.node;
    stop.call = poll.call;
    stop.body = core::StopPolling{device};
    queue_.push_back(std::move(stop));
  }
}

void Scheduler::Trouble() {
  Faults& faults = *parts_.faults;
  Random& random = faults.random();
  const int64_t now_ms = parts_.events->now_ms();
  if (faults.Strike(Fault::kSchedulerStalled)) {
    stalled_until_ms_ = now_ms + random.Between(500, 60'000);
  }
  if (faults.Strike(Fault::kClockForward)) clock_.MoveMonotonic(random.Between(1'000, 3'600'000));
  if (faults.Strike(Fault::kClockBack)) clock_.MoveMonotonic(-random.Between(10, 20'000));
  if (faults.Strike(Fault::kWallClockJumped)) {
    clock_.MoveWall(random.Between(-86'400'000, 86'400'000));
  }
}

void Scheduler::Delete(JobId owner) {
  if (owners_.erase(owner) > 0) parts_.checker->Deleted(owner);
}

// What a crash between a commit and the deletions that follow from it left behind.
void Scheduler::Sweep() {
  for (const JobId owner : std::set(owners_)) {
    if (absl::IsNotFound(store_->Job(owner).status())) Delete(owner);
  }
}

void Scheduler::Crash() {
  Faults& faults = *parts_.faults;
  Random& random = faults.random();
  const bool reboot = faults.Strike(Fault::kMachineRebooted);
  const bool torn = reboot && faults.Strike(Fault::kTornWrite);
  const bool lost = reboot && faults.Strike(Fault::kLostWrite);
  parts_.checker->Crashed();
  parts_.storage->Crash(torn, lost);
  grid_.reset();
  store_.reset();
  ++epoch_;
  batch_due_ = false;
  queue_.clear();
  unresolved_.reset();
  sessions_.clear();
  polls_.clear();
  grants_.clear();
  questions_.clear();
  const int64_t down_ms = random.Between(100, reboot ? 120'000 : 5'000);
  if (reboot) clock_.Reboot();
  parts_.events->Add(parts_.events->now_ms() + down_ms, EventKind::kSchedulerStart);
}

std::string Scheduler::Why(JobId job) {
  if (!grid_) return "the scheduler is down";
  std::vector<core::Effects> effects = grid_->Apply({core::WhyJob{job}});
  std::string text;
  const auto* sentences = std::get_if<std::vector<std::string>>(&effects[0].reply);
  for (const std::string& sentence : sentences ? *sentences : std::vector<std::string>{}) {
    text += (text.empty() ? "" : " ") + sentence;
  }
  return text;
}

}  // namespace corpgrid::sim
