#include "sim/agent.h"

#include <algorithm>
#include <utility>

namespace corpgrid::sim {
namespace {

constexpr int64_t kCallTimeoutMs = 10'000;
constexpr int64_t kPollWaitMs = 20'000;
constexpr int64_t kRetryMs = 1'000;
constexpr size_t kResultsInACall = 8;
constexpr uint64_t kBeatsACheckpoint = 6;

}  // namespace

void Loot::Add(uint32_t agent, const core::Lease& lease) {
  if (leases_.size() < kMax) {
    leases_.emplace_back(agent, lease);
    return;
  }
  leases_[next_++ % kMax] = {agent, lease};
}

const core::Lease* Loot::Any(uint32_t agent, Random* random) const {
  if (leases_.empty()) return nullptr;
  const auto& [owner, lease] = leases_[random->Below(leases_.size())];
  return owner == agent ? nullptr : &lease;
}

core::Condition Agent::condition() const {
  if (!knows_power_) return {};
  core::Condition condition =
      now_ms() < battery_until_ms_ ? core::Power::kBattery : core::Power::kMains;
  if (now_ms() < closed_until_ms_) condition.closed = "outside its owner's hours";
  return condition;
}

void Agent::WakeAt(int64_t ms) {
  ms = std::max(ms, now_ms() + 1);
  if (next_wake_ms_ >= 0 && next_wake_ms_ <= ms) return;
  next_wake_ms_ = ms;
  parts_.events->Add(ms, EventKind::kAgentWake, index_, static_cast<uint64_t>(ms));
}

void Agent::Wake() {
  if (next_wake_ms_ >= 0 && next_wake_ms_ <= now_ms()) next_wake_ms_ = -1;
  if (const int64_t away_ms = std::max(down_until_ms_, asleep_until_ms_); away_ms > now_ms()) {
    WakeAt(away_ms);
    return;
  }
  if (asleep_until_ms_ > 0) {  // What ran goes on where it was.
    for (Held& held : held_) held.end_ms += asleep_until_ms_ - slept_at_ms_;
    asleep_until_ms_ = 0;
  }
  if (session_ == 0) {
    Register();
    return;
  }
  if (!begun_.empty()) {
    TellDeath();
    return;
  }
  Work();
  if (dies_) {
    Crash();
    return;
  }
  Beat();
  HandIn();
  Poll();
  int64_t next_ms = std::min(heartbeat_.next_ms, now_ms() + kCallTimeoutMs);
  for (const Held& held : held_) {
    if (held.stage == Stage::kRunning) next_ms = std::min(next_ms, held.end_ms);
    if (held.stage == Stage::kFinished) {
      next_ms = std::min(next_ms, submit_.id != 0 ? submit_.deadline_ms
                                                  : std::max(submit_.next_ms, held.late_until_ms));
    }
  }
  WakeAt(next_ms);
}

bool Agent::Due(Call* call) {
  if (call->id != 0 && now_ms() >= call->deadline_ms) call->id = 0;  // It timed out.
  return call->id == 0 && now_ms() >= call->next_ms;
}

void Agent::Send(Call* call, int64_t timeout_ms, Body body, int64_t wait_ms,
                 std::vector<Signature> signatures) {
  call->id = ++calls_;
  call->deadline_ms = now_ms() + timeout_ms;
  Request request;
  request.node = index_;
  request.call = call->id;
  request.session = session_;
  request.wait_ms = wait_ms;
  request.body = std::move(body);
  request.signatures = std::move(signatures);
  parts_.network->Send(std::move(request));
}

void Agent::Register() {
  if (Due(&register_)) {
    const DeviceTruth& device = parts_.world->devices()[index_];
    core::RegisterDevice body{.device = device.info,
                              .join_secret_hash = parts_.world->owners()[device.owner].join_secret};
    register_.next_ms = now_ms() + kRetryMs;
    Send(&register_, kCallTimeoutMs, std::move(body));
  }
  WakeAt(register_.id != 0 ? register_.deadline_ms : register_.next_ms);
}

void Agent::Poll() {
  if (!Due(&poll_)) return;
  const size_t capacity = slots_ + 1;  // one is fetched ahead
  if (held_.size() >= capacity) return;
  core::Poll body{.device = {},
                  .max_shards = static_cast<uint32_t>(capacity - held_.size()),
                  .condition = condition(),
                  .held = {}};
  if (knows_held_) {
    for (const Held& held : held_) body.held.push_back(held.lease.attempt);
  }
  poll_.next_ms = now_ms() + 10;
  Send(&poll_, kPollWaitMs + kCallTimeoutMs, std::move(body), kPollWaitMs);
}

void Agent::Beat() {
  if (!Due(&heartbeat_)) return;
  core::Heartbeat body{.device = {}, .condition = condition(), .attempts = {}};
  for (const Held& held : held_) {
    body.attempts.push_back({held.lease.attempt, knows_progress_ ? 0.5 : -1});
  }
  const core::Lease* other = parts_.loot->Any(index_, &random_);
  if (other && parts_.faults->Strike(Fault::kStaleLease)) {
    body.attempts.push_back({other->attempt, 0.5});
  }
  heartbeat_.next_ms = now_ms() + heartbeat_ms_;
  Send(&heartbeat_, heartbeat_ms_, std::move(body));
  if (random_.Below(kBeatsACheckpoint) == 0) SaveState();
}

void Agent::SaveState() {
  const auto running = std::find_if(held_.begin(), held_.end(),
                                    [](const Held& h) { return h.stage == Stage::kRunning; });
  if (running == held_.end() || !Due(&checkpoint_)) return;
  const core::Lease* other = parts_.loot->Any(index_, &random_);
  const bool stale = other && parts_.faults->Strike(Fault::kStaleCheckpoint);
  const core::Lease& lease = stale ? *other : running->lease;
  crypto::Hash state;
  for (uint8_t& byte : state.bytes) byte = static_cast<uint8_t>(random_.Below(256));
  Send(&checkpoint_, kCallTimeoutMs,
       core::ReportCheckpoint{
           .device = {}, .attempt = lease.attempt, .lease_token = lease.token, .state = state});
}

void Agent::Work() {
  uint32_t running = 0;
  for (Held& held : held_) {
    if (held.stage != Stage::kRunning) continue;
    if (held.end_ms <= now_ms()) {
      Finish(&held);
    } else {
      ++running;
    }
  }
  for (Held& held : held_) {
    if (held.stage != Stage::kQueued || running >= slots_) continue;
    Start(&held);
    ++running;
  }
}

void Agent::Start(Held* held) {
  const JobTruth* job = parts_.world->FindJob(held->lease.shard.job);
  int64_t run_ms = job ? job->run_ms : kRetryMs;
  run_ms = random_.Between(run_ms / 2, run_ms * 2);
  if (parts_.faults->Strike(Fault::kAttemptSlow)) run_ms *= 30;
  if (parts_.faults->Strike(Fault::kAttemptHung)) run_ms = 30 * 86'400'000ll;
  if (job && job->nature == Nature::kKills && held->lease.shard.index == 0) dies_ = true;
  held->stage = Stage::kRunning;
  held->end_ms = now_ms() + run_ms;
}

job::Result Agent::ResultOf(const JobTruth& job, const core::Lease& lease) {
  const Owner& owner = parts_.world->owners()[parts_.world->devices()[index_].owner];
  Faults& faults = *parts_.faults;
  if (const auto lie = parts_.world->LieOf(index_, job, lease.shard)) return *lie;
  if (owner.lies && owner.group != 0 && faults.Strike(Fault::kColludingResult)) {
    return parts_.world->Lie(job, lease.shard, owner.group);
  }
  if (owner.lies && faults.Strike(Fault::kWrongResult)) {
    return parts_.world->Lie(job, lease.shard, 1'000 + random_.Below(1'000'000));
  }
  const bool corrupted = faults.Strike(Fault::kBundleCorrupted);
  if (corrupted && random_.Below(2) == 0) {
    return {.outcome = job::Outcome::kNotStarted, .exit_code = 2, .outputs = {}};
  }
  if (corrupted || faults.Strike(Fault::kDeviceFault)) {
    return {.outcome = job::Outcome::kDeviceFault, .exit_code = 0, .outputs = {}};
  }
  return parts_.world->Truth(job, lease.shard, random_.Next());
}

void Agent::Finish(Held* held) {
  const core::Lease& lease = held->lease;
  held->stage = Stage::kFinished;
  held->late_until_ms = now_ms();
  if (parts_.faults->Strike(Fault::kLateResult)) {
    held->late_until_ms += random_.Between(5'000, 900'000);
  }
  const JobTruth* job = parts_.world->FindJob(lease.shard.job);
  core::ResultRow row;
  row.attempt = lease.attempt;
  if (job) row.result = ResultOf(*job, lease);
  held->result = {.row = std::move(row), .lease_token = lease.token, .proof = core::Proof::kGood};
  held->signature = {.signer = index_,
                     .attempt = lease.attempt,
                     .lease_token = lease.token,
                     .tampered = false,
                     .staged = true};
}

void Agent::HandIn() {
  if (!Due(&submit_)) return;
  std::vector<core::HandedIn> results;
  std::vector<Signature> signatures;
  for (const Held& held : held_) {
    if (held.stage != Stage::kFinished || held.late_until_ms > now_ms()) continue;
    if (results.size() == kResultsInACall) break;
    results.push_back(held.result);
    signatures.push_back(held.signature);
  }
  if (results.empty()) return;
  Misbehave(&results, &signatures);
  submit_.next_ms = now_ms() + kRetryMs;
  Send(&submit_, kCallTimeoutMs, core::SubmitResults{{}, std::move(results)}, 0,
       std::move(signatures));
}

void Agent::Misbehave(std::vector<core::HandedIn>* results, std::vector<Signature>* signatures) {
  Faults& faults = *parts_.faults;
  signatures->front().tampered = faults.Strike(Fault::kForgedSignature);
  signatures->front().staged = !faults.Strike(Fault::kBytesMissing);
  if (signatures->front().tampered || !signatures->front().staged) {
    const AttemptId id = results->front().row.attempt;
    for (Held& held : held_) held.spoilt |= held.lease.attempt == id;
  }
  if (faults.Strike(Fault::kDuplicateResult)) {
    results->push_back(results->front());
    signatures->push_back(signatures->front());
  }
  const auto add = [&](const core::Lease& lease, const std::string& token, bool signs_as_own) {
    core::HandedIn in = results->front();
    in.row.attempt = lease.attempt;
    in.lease_token = token;
    Signature signature = signatures->front();
    if (signs_as_own) {
      signature.attempt = lease.attempt;
      signature.lease_token = token;
    }
    results->push_back(std::move(in));
    signatures->push_back(std::move(signature));
  };
  const core::Lease* other = parts_.loot->Any(index_, &random_);
  if (other && faults.Strike(Fault::kStolenResult)) {
    // With the other's token or one's own, signed for it or not.
    const bool knows_token = random_.Below(2) == 0;
    add(*other, knows_token ? other->token : results->front().lease_token, random_.Below(2) == 0);
  }
  if (other && faults.Strike(Fault::kStaleLease)) {
    core::Lease mixed = *other;
    mixed.attempt = results->front().row.attempt;  // one's own attempt under an old token
    add(mixed, other->token, true);
  }
  if (faults.Strike(Fault::kUnknownAttempt)) {
    core::Lease made_up;
    made_up.attempt = AttemptId{random_.Below(1'000'000'000)};
    add(made_up, results->front().lease_token, true);
  }
}

void Agent::Receive(Answer answer) {
  if (down_until_ms_ > now_ms() || asleep_until_ms_ > now_ms()) return;  // The connection broke.
  if (answer.call == 0) return;
  if (answer.call == register_.id) {
    register_.id = 0;
    if (std::holds_alternative<core::Registered>(answer.reply)) session_ = answer.session;
    WakeAt(now_ms());
    return;
  }
  const auto* status = std::get_if<absl::Status>(&answer.reply);
  Call* const calls[] = {&poll_, &heartbeat_, &submit_, &checkpoint_, &death_};
  const auto call = std::find_if(std::begin(calls), std::end(calls),
                                 [&](const Call* c) { return c->id == answer.call; });
  if (call == std::end(calls)) return;  // Nobody waits for it any more.
  (*call)->id = 0;
  if (status && absl::IsUnauthenticated(*status)) {
    session_ = 0;
    WakeAt(now_ms());
    return;
  }
  if (status && !status->ok()) {
    (*call)->next_ms = now_ms() + kRetryMs;
    return;
  }
  if (*call == &death_) begun_.clear();
  if (*call == &poll_) Take(answer.leases);
  if (const auto* verdicts = std::get_if<std::vector<core::Verdict>>(&answer.reply)) {
    submit_.next_ms = now_ms();
    Judge(*verdicts);
  }
  if (const auto* stops = std::get_if<std::vector<core::Stop>>(&answer.reply)) StopWork(*stops);
  Wake();
}

void Agent::Take(const std::vector<core::Lease>& leases) {
  for (const core::Lease& lease : leases) {
    const bool known = std::any_of(held_.begin(), held_.end(), [&](const Held& held) {
      return held.lease.attempt == lease.attempt;
    });
    if (known) continue;
    held_.emplace_back().lease = lease;
    parts_.loot->Add(index_, lease);
  }
}

void Agent::Judge(const std::vector<core::Verdict>& verdicts) {
  for (const core::Verdict& verdict : verdicts) {
    const auto spoilt = std::find_if(held_.begin(), held_.end(), [&](const Held& held) {
      return held.lease.attempt == verdict.attempt && held.spoilt;
    });
    if (!verdict.accepted && spoilt != held_.end()) {
      spoilt->spoilt = false;  // It is handed in again, as it should have been.
      continue;
    }
    std::erase_if(held_, [&](const Held& held) {
      return held.lease.attempt == verdict.attempt && held.stage == Stage::kFinished;
    });
  }
}

void Agent::StopWork(const std::vector<core::Stop>& stops) {
  for (const core::Stop& stop : stops) {
    const auto held = std::find_if(held_.begin(), held_.end(), [&](const Held& h) {
      return h.lease.attempt == stop.attempt && h.stage != Stage::kFinished;
    });
    if (stop.give_back && held != held_.end()) {
      Finish(&*held);
      held->result.row.result = {
          .outcome = job::Outcome::kGivenBack, .exit_code = 0, .outputs = {}};
      continue;
    }
    // Some hand in all the same, later: that is what leases are against.
    std::erase_if(held_, [&](const Held& held) {
      return held.lease.attempt == stop.attempt && held.late_until_ms <= now_ms();
    });
  }
}

}  // namespace corpgrid::sim
