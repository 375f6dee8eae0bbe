#include "sim/checker.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "fmt/format.h"

namespace corpgrid::sim {
namespace {

constexpr size_t kMaxMessages = 10;

bool Has(const std::vector<std::string>& texts, const std::string& text) {
  return std::find(texts.begin(), texts.end(), text) != texts.end();
}

}  // namespace

bool Checker::Suits(const core::DeviceRow& has, const job::JobFields& wants) {
  const bool backend = std::any_of(
      wants.resources.backends.begin(), wants.resources.backends.end(),
      [&](job::Backend b) { return (has.backends >> static_cast<unsigned>(b) & 1) != 0; });
  return backend && has.cpus >= wants.resources.cpus &&
         has.memory_bytes >= wants.resources.memory_bytes &&
         has.vram_bytes >= wants.resources.vram_bytes &&
         (has.network_allowed || !wants.limits.network) &&
         has.protocol >= World::ProtocolOf(wants) &&
         (!wants.placement.attested || has.attestation == core::Attestation::kMeasured) &&
         (wants.placement.sites.empty() || Has(wants.placement.sites, has.site)) &&
         std::all_of(wants.placement.labels.begin(), wants.placement.labels.end(),
                     [&](const std::string& label) { return Has(has.labels, label); });
}

Checker::Checker(World* world, const EventQueue* events, const core::GridConfig& config,
                 Digest* digest)
    : world_(world),
      events_(events),
      config_(config),
      digest_(digest),
      joined_(world->owners().size()) {
  for (uint32_t i = 0; i < world->devices().size(); ++i) {
    agent_by_key_[world->devices()[i].info.public_key] = i;
  }
}

void Checker::Fail(std::string what) {
  ++violations_;
  if (messages_.size() < kMaxMessages) {
    messages_.push_back(fmt::format("at {} ms: {}", events_->now_ms(), what));
  }
}

bool Checker::HasEnded(core::JobState state) {
  return state != core::JobState::kQueued && state != core::JobState::kRunning;
}

bool Checker::IsLive(core::AttemptState state) {
  return state == core::AttemptState::kRunning || state == core::AttemptState::kSubmitted;
}

uint64_t Checker::Short(const crypto::Hash& hash) {
  uint64_t word = 0;
  std::memcpy(&word, hash.bytes.data(), sizeof word);
  return word;
}

uint64_t Checker::PartyOf(const JobTruth& job, DeviceId device) const {
  if (job.spec->redundancy.distinct == job::Distinct::kDevice) return device.value;
  const auto it = devices_.find(device);
  return it == devices_.end() ? 0 : world_->devices()[it->second.agent].owner + 1;
}

void Checker::Applied(const std::vector<Request>& requests,
                      const std::vector<core::Effects>& effects, int64_t time_ms) {
  applied_ = &requests;
  if (time_ms < applied_ms_)
    Fail(fmt::format("grid time went from {} to {}", applied_ms_, time_ms));
  applied_ms_ = time_ms;
  fresh_.clear();
  BeginProjectsRound();
  ++rounds_;
  for (size_t i = 0; i < requests.size(); ++i) AppliedOne(requests[i], effects[i]);
}

void Checker::AppliedOne(const Request& request, const core::Effects& effects) {
  const auto hear = [&](DeviceId id) -> DeviceFact* {
    const auto it = devices_.find(id);
    if (it == devices_.end()) return nullptr;
    it->second.contact_ms = applied_ms_;
    return &it->second;
  };
  const auto note = [&](DeviceFact* device, const core::Condition& condition) {
    if (!device) return;
    device->condition = condition;
    device->condition_load = loads_;
  };
  if (const auto* poll = std::get_if<core::Poll>(&request.body)) {
    note(hear(poll->device), poll->condition);
  } else if (const auto* beat = std::get_if<core::Heartbeat>(&request.body)) {
    note(hear(beat->device), beat->condition);
    for (const core::AttemptProgress& progress : beat->attempts) {
      const auto it = attempts_.find(progress.attempt);
      if (it != attempts_.end() && it->second.device == beat->device) {
        it->second.heard_ms = applied_ms_;
      }
    }
  } else if (const auto* submit = std::get_if<core::SubmitResults>(&request.body)) {
    hear(submit->device);
  } else if (const auto* report = std::get_if<core::ReportCheckpoint>(&request.body)) {
    hear(report->device);
    const auto it = attempts_.find(report->attempt);
    const auto job = it == attempts_.end() ? jobs_.end() : jobs_.find(it->second.shard.job);
    if (job != jobs_.end()) {
      const auto shard = job->second.shards.find(it->second.shard.index);
      if (shard != job->second.shards.end()) shard->second.states.push_back(Short(report->state));
    }
  } else if (const auto* death = std::get_if<core::ReportDeath>(&request.body)) {
    if (hear(death->device)) HeardOfDeath(*death);
  } else if (const auto* join = std::get_if<core::RegisterDevice>(&request.body)) {
    const auto* registered = std::get_if<core::Registered>(&effects.reply);
    if (registered && agent_by_key_.contains(join->device.public_key)) {
      DeviceFact& device = devices_[registered->device];
      device.agent = agent_by_key_.at(join->device.public_key);
      const bool drained = std::exchange(device.applied, join->device).drained;
      device.applied.drained = drained;
      device.applied.trusted = device.row.trusted;
      device.contact_ms = applied_ms_;
    }
  }
  const auto* drain = std::get_if<core::DrainDevice>(&request.body);
  const auto* status = std::get_if<absl::Status>(&effects.reply);
  const auto device = drain ? devices_.find(drain->device) : devices_.end();
  if (device != devices_.end() && status && status->ok()) {
    device->second.applied.drained = drain->drained;
    if (drain->drained) device->second.drained_round = rounds_;
  }
  AppliedProjects(request, effects);
  const auto* trust = std::get_if<core::TrustDevice>(&request.body);
  const auto other = trust ? devices_.find(trust->device) : devices_.end();
  if (other != devices_.end() && status && status->ok()) {
    DeviceFact& fact = other->second;
    fact.trust_changes = std::exchange(fact.trust_round, rounds_) == rounds_ ? 2 : 1;
  }
  for (const core::Lease& lease : effects.leases) CheckLease(lease);
}

void Checker::CheckLease(const core::Lease& lease) {
  CheckUnderstood(lease);
  const bool again = attempts_.contains(lease.attempt) ||
                     std::find(fresh_.begin(), fresh_.end(), lease.attempt) != fresh_.end();
  if (again) return;
  fresh_.push_back(lease.attempt);
  const auto device = devices_.find(lease.device);
  if (device == devices_.end()) {
    Fail(fmt::format("attempt {} was leased to a device that never joined", lease.attempt.value));
    return;
  }
  const DeviceFact& fact = device->second;
  const bool known = fact.condition_load == loads_;
  if (known && fact.condition.power == core::Power::kBattery) {
    Fail(fmt::format("attempt {} was leased to a device on battery", lease.attempt.value));
  }
  if (known && !fact.condition.closed.empty()) {
    Fail(fmt::format("attempt {} was leased outside its owner's hours", lease.attempt.value));
  }
  if (fact.applied.drained) {
    Fail(fmt::format("attempt {} was leased to a device that is drained", lease.attempt.value));
  }
  const JobTruth* job = world_->FindJob(lease.shard.job);
  if (job && !Suits(fact.applied, *job->spec)) {
    Fail(fmt::format("attempt {} was leased to a device that does not suit its job",
                     lease.attempt.value));
  }
  CheckProject(lease, fact);
}

void Checker::Released(const Request& request, const core::Effects& effects) {
  const auto* submit = std::get_if<core::SubmitJob>(&request.body);
  const auto* submitted = std::get_if<core::Submitted>(&effects.reply);
  if (submit && submitted) {
    const JobTruth* truth = world_->FindKey(submit->idempotency_key);
    if (!truth || !IsOneOf(*truth, submitted->job)) {
      Fail(fmt::format("job {} was acknowledged for {}, which the store does not have as that",
                       submitted->job.value, submit->idempotency_key));
    }
  }
  const auto* join = std::get_if<core::RegisterDevice>(&request.body);
  const auto* registered = std::get_if<core::Registered>(&effects.reply);
  if (join && registered) {
    const auto it = devices_.find(registered->device);
    if (it == devices_.end() || !agent_by_key_.contains(join->device.public_key) ||
        it->second.row.public_key != join->device.public_key) {
      Fail(fmt::format("device {} was admitted without being in the store",
                       registered->device.value));
    }
  }
  for (const core::Lease& lease : effects.leases) ReleasedLease(lease);
  const auto* report = std::get_if<core::ReportCheckpoint>(&request.body);
  const auto* poll = std::get_if<core::Poll>(&request.body);
  const auto* status = std::get_if<absl::Status>(&effects.reply);
  const auto* beat = std::get_if<core::Heartbeat>(&request.body);
  const auto* stops = std::get_if<std::vector<core::Stop>>(&effects.reply);
  const auto* trust = std::get_if<core::TrustDevice>(&request.body);
  if (trust && status && status->ok()) ReleasedTrust(*trust);
  if (beat && stops) ReleasedStops(*beat, *stops);
  if (poll && status && status->ok()) ReleasedPoll(*poll, effects);
  if (report && status && status->ok()) ReleasedCheckpoint(request, *report);
  if (const auto* verdicts = std::get_if<std::vector<core::Verdict>>(&effects.reply)) {
    ReleasedVerdicts(request, *verdicts);
  }
  ReleasedBytes(effects);
  if (std::holds_alternative<core::Tick>(request.body)) {
    CheckOverdue(applied_ms_);
    CheckDeadlines();
  }
}

// A device is told to stop what is not its own or has ended, and nothing else.
void Checker::ReleasedStops(const core::Heartbeat& beat, const std::vector<core::Stop>& stops) {
  for (const core::AttemptProgress& progress : beat.attempts) {
    const AttemptId id = progress.attempt;
    const bool stopped = std::any_of(stops.begin(), stops.end(),
                                     [&](const auto& stop) { return stop.attempt == id; });
    const auto it = attempts_.find(id);
    const bool own = it != attempts_.end() && it->second.device == beat.device;
    // A device on battery, or closed, may be told to stop what is its own.
    const bool lent =
        beat.condition.power != core::Power::kBattery && beat.condition.closed.empty();
    if (own && IsLive(it->second.state) && stopped && lent &&
        !MayBeGivenBack(devices_.at(beat.device), it->second)) {
      Fail(fmt::format("attempt {} was stopped under a live lease", id.value));
    }
    const bool over = !own || (!IsLive(it->second.state) && it->second.ended_round != rounds_);
    if (over && !stopped) Fail(fmt::format("attempt {} goes on without a lease", id.value));
  }
}

// A device whose answer was lost, or that lost its memory, is given its leases again.
void Checker::ReleasedPoll(const core::Poll& poll, const core::Effects& effects) {
  const auto device = devices_.find(poll.device);
  if (device == devices_.end()) return;
  for (const AttemptId id : device->second.running) {
    const bool given = std::find(poll.held.begin(), poll.held.end(), id) != poll.held.end() ||
                       attempts_.at(id).start_round == rounds_ ||  // perhaps after the poll
                       std::any_of(effects.leases.begin(), effects.leases.end(),
                                   [&](const core::Lease& lease) { return lease.attempt == id; });
    if (!given) Fail(fmt::format("attempt {} was not given to its device again", id.value));
  }
}

void Checker::ReleasedLease(const core::Lease& lease) {
  const auto it = attempts_.find(lease.attempt);
  if (it == attempts_.end() || it->second.device != lease.device ||
      it->second.token != lease.token || it->second.shard != lease.shard) {
    Fail(fmt::format("attempt {} was given to a device, but the store does not have it as that",
                     lease.attempt.value));
    return;
  }
  if (!lease.checkpoint) return;
  const JobFact& job = jobs_.at(lease.shard.job);
  const auto shard = job.shards.find(lease.shard.index);
  if (shard == job.shards.end()) return;  // It was decided in the same batch.
  const std::vector<uint64_t>& states = shard->second.states;
  if (std::find(states.begin(), states.end(), Short(*lease.checkpoint)) == states.end()) {
    Fail(fmt::format("attempt {} was given a checkpoint that nobody reported for its shard",
                     lease.attempt.value));
  }
}

void Checker::ReleasedCheckpoint(const Request& request, const core::ReportCheckpoint& report) {
  const auto it = attempts_.find(report.attempt);
  if (it == attempts_.end() || it->second.token != report.lease_token ||
      devices_.at(it->second.device).agent != request.node) {
    Fail(fmt::format("a checkpoint for attempt {} was accepted from a device that had no lease",
                     report.attempt.value));
    return;
  }
  const AttemptFact& fact = it->second;
  if (fact.state != core::AttemptState::kRunning && fact.left_round != rounds_) {
    Fail(fmt::format("a checkpoint for attempt {} was accepted after its end",
                     report.attempt.value));
  }
  it->second.saved = true;
}

void Checker::ReleasedVerdicts(const Request& request, const std::vector<core::Verdict>& verdicts) {
  const auto* submit = std::get_if<core::SubmitResults>(&request.body);
  if (!submit || submit->results.size() != verdicts.size()) {
    Fail("not a verdict for each result");
    return;
  }
  for (size_t i = 0; i < verdicts.size(); ++i) {
    const core::HandedIn& in = submit->results[i];
    digest_->Add(in.row.attempt.value * 2 + (verdicts[i].accepted ? 1 : 0));
    const auto it = attempts_.find(in.row.attempt);
    const bool own = it != attempts_.end() && it->second.token == in.lease_token &&
                     devices_.at(it->second.device).agent == request.node;
    if (verdicts[i].accepted) {
      if (!own) {
        Fail(fmt::format("a result for attempt {} was accepted from a device that had no lease",
                         in.row.attempt.value));
      } else if (!it->second.vote && it->second.state != core::AttemptState::kFaulted &&
                 it->second.state != core::AttemptState::kGivenBack) {
        Fail(fmt::format("a result for attempt {} was accepted, but is not in the store",
                         in.row.attempt.value));
      }
    } else if (own && it->second.state == core::AttemptState::kRunning &&
               in.proof == core::Proof::kGood) {
      Fail(fmt::format("a good result for attempt {} was refused under a live lease: {}",
                       in.row.attempt.value, verdicts[i].reason));
    } else if (own && MustRepeat(it->second)) {
      Fail(fmt::format("a result for attempt {} was accepted before and is refused: {}",
                       in.row.attempt.value, verdicts[i].reason));
    }
  }
}

// Whether handing in again what was accepted has to be accepted. The core forgets when it starts
// anew, so this holds for what was handed in and ended since.
bool Checker::MustRepeat(const AttemptFact& fact) const {
  const bool accepted = fact.vote || fact.state == core::AttemptState::kFaulted ||
                        fact.state == core::AttemptState::kGivenBack;
  return accepted && !IsLive(fact.state) && fact.ended_load == loads_ &&
         fact.ended_round != rounds_;
}

bool Checker::MustKeep(const AttemptFact& fact) {
  return fact.winner || fact.state == core::AttemptState::kUndecided;
}

void Checker::ReleasedBytes(const core::Effects& effects) {
  for (const auto& [attempt, job] : effects.keep) {
    const auto it = attempts_.find(attempt);
    if (it == attempts_.end() || !MustKeep(it->second) || it->second.shard.job != job) {
      Fail(fmt::format("the outputs of attempt {} are kept, but it lost", attempt.value));
    } else if (std::exchange(it->second.kept, true)) {
      Fail(fmt::format("the outputs of attempt {} are kept twice", attempt.value));
    }
  }
  for (const AttemptId attempt : effects.drop) {
    const auto it = attempts_.find(attempt);
    if (it != attempts_.end() && MustKeep(it->second)) {
      Fail(
          fmt::format("the outputs of attempt {} are dropped, but it did not lose", attempt.value));
    }
  }
}

int64_t Checker::DeadlineMs(const AttemptFact& fact, int64_t max_queued_ms) const {
  const JobTruth& job = TruthOf(jobs_.at(fact.shard.job));
  const int64_t heard_ms = std::max(fact.start_ms, devices_.at(fact.device).contact_ms);
  return std::min(heard_ms + config_.lease_ttl_ms(),
                  fact.start_ms + job.spec->limits.wall_ms + max_queued_ms);
}

void Checker::CheckOverdue(int64_t now_ms) {
  const int64_t time_ms = now_ms - core::kExpiryStepMs;  // the core looks once a step
  while (!deadlines_.empty() && deadlines_.top().first <= time_ms) {
    const AttemptId id = deadlines_.top().second;
    deadlines_.pop();
    const auto it = attempts_.find(id);
    if (it == attempts_.end() || it->second.state != core::AttemptState::kRunning) continue;
    const int64_t deadline_ms = DeadlineMs(it->second, core::Grid::kMaxQueuedMs);
    if (deadline_ms <= time_ms) {
      Fail(fmt::format("the lease of attempt {} should have ended {} ms ago", id.value,
                       time_ms - deadline_ms));
    } else {
      deadlines_.push({deadline_ms, id});
    }
  }
}

void Checker::Acknowledged(const JobTruth& job, const core::Submitted& reply) {
  if (!IsOneOf(job, reply.job)) {
    Fail(fmt::format("{} was accepted as job {}, but it is job {}", job.key, reply.job.value,
                     job.id.value));
  }
}

void Checker::Seen(const JobTruth& job, const core::Submitted& reply,
                   const std::optional<core::JobProgressRow>& progress) {
  if (!reply.job && WasRemoved(job)) return;
  if (!reply.job) {
    Fail(fmt::format("{} was accepted and is not known any more", job.key));
    return;
  }
  const auto it = jobs_.find(reply.job);
  if (!IsOneOf(job, reply.job)) {
    Fail(fmt::format("{} was job {} and is now job {}", job.key, job.id.value, reply.job.value));
  } else if (progress && HasEnded(progress->state) && progress->state != it->second.state) {
    Fail(fmt::format("job {} was shown as ended otherwise than it did", reply.job.value));
  }
}

}  // namespace corpgrid::sim
