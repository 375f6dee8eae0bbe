#include "sim/person.h"

#include <algorithm>
#include <utility>

namespace corpgrid::sim {
namespace {

constexpr int64_t kWakeMs = 1'000;
constexpr int64_t kTimeoutMs = 5'000;
constexpr int64_t kLookMs = 10'000;  // how often one asks whether a job is done
constexpr size_t kMaxOld = 32;
constexpr uint64_t kWakesALook = 16;

bool HasEnded(core::JobState state) {
  return state != core::JobState::kQueued && state != core::JobState::kRunning;
}

}  // namespace

Person::Person(uint32_t node, uint64_t seed, uint32_t wants, bool rules, const Parts& parts)
    : parts_(parts), node_(node), wants_(wants), random_(seed), rules_(rules) {
  if (!rules) return;
  for (uint32_t i = 0; i < parts.world->owners().size(); ++i) tokens_.push_back(i);
}

uint64_t Person::Send(Body body) {
  Request request;
  request.node = node_;
  request.call = ++calls_;
  request.body = std::move(body);
  parts_.network->Send(std::move(request));
  return calls_;
}

void Person::Wake() {
  const int64_t now_ms = parts_.events->now_ms();
  parts_.events->Add(now_ms + kWakeMs, EventKind::kUserWake, node_);
  if (!tokens_.empty()) {
    const Owner& owner = parts_.world->owners()[tokens_.back()];
    token_call_ = Send(core::CreateJoinToken{{.secret_hash = owner.join_secret,
                                              .owner = owner.name,
                                              .uses_left = owner.devices,
                                              .idempotency_key = owner.name}});
  }
  if (rules_) RuleProjects();
  Faults& faults = *parts_.faults;
  while (!calm_ && open_.size() < wants_) {
    open_.push_back({.job = parts_.world->NewJob(),
                     .submitted = false,
                     .cancel = false,
                     .call = 0,
                     .next_ms = now_ms});
  }
  for (Open& open : open_) {
    if (open.submitted && !open.cancel && faults.Strike(Fault::kJobCancelled)) {
      open.cancel = true;
    }
    if (open.next_ms <= now_ms) Ask(&open);
  }
  if (random_.Below(kWakesALook) == 0) LookAround();
  if (rules_) TrustSome();
  if (faults.Strike(Fault::kDeviceDrained)) DrainSome();
  if (calm_) UndoDrains();
  if (!old_.empty() && faults.Strike(Fault::kOldKeyReused)) {
    Open again{.job = old_[random_.Below(old_.size())],
               .submitted = false,
               .cancel = false,
               .call = 0,
               .next_ms = now_ms};
    Ask(&again);
  }
  if (faults.Strike(Fault::kJobRemoved)) RemoveSome();
}

// One that ended, or one that perhaps has not.
void Person::RemoveSome() {
  const bool old = !old_.empty() && random_.Below(4) != 0;
  if (!old && open_.empty()) return;
  const JobTruth& job = parts_.world->jobs()[old ? old_[random_.Below(old_.size())] : open_[0].job];
  if (!job.id) return;
  parts_.checker->Removing(job.id);
  Send(core::RemoveJob{job.id});
}

void Person::RuleProjects() {
  const auto& names = World::kProjects;
  if (projects_made_ < names.size()) {
    project_call_ = Send(
        core::SetProject{.name = names.at(projects_made_),
                         .weight = static_cast<uint32_t>(1 + projects_made_ * projects_made_)});
  }
  if (calm_ && random_.Below(kWakesALook) == 0) {
    for (const char* name : names) {
      constexpr uint64_t kNone = core::ProjectRow::kNoLimit;
      Send(core::SetProject{.name = name,
                            .max_cpus = kNone,
                            .max_memory_bytes = kNone,
                            .max_gpus = kNone,
                            .max_running = kNone,
                            .max_queued = kNone});
    }
  }
  const char* name = names.at(random_.Below(names.size()));
  if (parts_.faults->Strike(Fault::kProjectChanged)) ChangeProject(name);
  if (parts_.faults->Strike(Fault::kProjectRemoved)) Send(core::RemoveProject{name});
}

void Person::ChangeProject(const char* name) {
  constexpr uint64_t kGiB = 1ull << 30;
  core::SetProject set{.name = name};
  const auto limit = [&](uint64_t most) {
    return random_.Below(3) == 0 ? core::ProjectRow::kNoLimit : random_.Below(most + 1);
  };
  switch (random_.Below(6)) {
    case 0:
      set.weight = static_cast<uint32_t>(random_.Between(1, 10));
      break;
    case 1:
      set.max_cpus = limit(24);
      break;
    case 2:
      set.max_memory_bytes = limit(16 * kGiB);
      break;
    case 3:
      set.max_gpus = limit(4);
      break;
    case 4:
      set.max_running = limit(6);
      break;
    default:
      set.max_queued = limit(3);
  }
  Send(set);
}

void Person::DrainSome() {
  const DeviceId device{1 + random_.Below(parts_.world->devices().size())};
  drained_.insert(device);
  Send(core::DrainDevice{
      .device = device, .drained = random_.Below(4) == 0, .now = random_.Below(2) == 0});
}

// Until each device that deserves it is trusted.
void Person::TrustSome() {
  if (const DeviceId device = parts_.checker->NotYetTrusted()) Send(core::TrustDevice{device});
  const DeviceId any{1 + random_.Below(parts_.world->devices().size())};
  if (parts_.faults->Strike(Fault::kTrustEnded)) {
    Send(core::TrustDevice{.device = any, .trusted = false});
  }
}

void Person::UndoDrains() {
  if (drained_.empty()) return;
  undo_call_ = Send(core::DrainDevice{.device = *drained_.begin(), .drained = false});
}

// Reads that change nothing, whatever the state of the grid.
void Person::LookAround() {
  const JobId job = open_.empty() ? JobId{1} : parts_.world->jobs()[open_[0].job].id;
  switch (random_.Below(5)) {
    case 4:
      Send(core::ViewProjects{});
      break;
    case 0:
      Send(core::ViewJob{job});
      break;
    case 1:
      Send(core::WhyJob{job});
      break;
    case 2:
      Send(core::WhyDevice{DeviceId{random_.Below(parts_.world->devices().size() + 2)}});
      break;
    default:
      Send(core::ViewDevices{});
  }
}

void Person::Ask(Open* open) {
  JobTruth& job = parts_.world->jobs()[open->job];
  const int64_t now_ms = parts_.events->now_ms();
  open->next_ms = now_ms + (open->submitted ? kLookMs : kTimeoutMs);
  if (!open->submitted) {
    const core::SubmitJob submit{.idempotency_key = job.key,
                                 .spec = job.spec,
                                 .spec_hash = {},
                                 .bundle_hash = {},
                                 .bundle_bytes = 0,
                                 .submitter_key = "",
                                 .signature = ""};
    open->call = Send(submit);
    if (parts_.faults->Strike(Fault::kSubmitRepeated)) open->call = Send(submit);
    return;
  }
  if (open->cancel) {
    job.cancel_asked = true;
    Send(core::CancelJob{job.id});
  }
  open->call = Send(core::FindJob{job.key});
}

void Person::Receive(const Answer& answer) {
  if (answer.call == token_call_ && token_call_ != 0) {
    const auto* status = std::get_if<absl::Status>(&answer.reply);
    token_call_ = 0;
    if (status && status->ok()) tokens_.pop_back();
    return;
  }
  const auto* status = std::get_if<absl::Status>(&answer.reply);
  if (answer.call == undo_call_ && status && (status->ok() || absl::IsNotFound(*status))) {
    if (!drained_.empty()) drained_.erase(drained_.begin());
    undo_call_ = 0;
    return;
  }
  if (answer.call == project_call_ && project_call_ != 0) {
    project_call_ = 0;
    if (status && status->ok()) ++projects_made_;
    return;
  }
  const auto* submitted = std::get_if<core::Submitted>(&answer.reply);
  const bool refused = status && (absl::IsFailedPrecondition(*status) || absl::IsNotFound(*status));
  if (!submitted && !refused) return;
  const auto open = std::find_if(open_.begin(), open_.end(),
                                 [&](const Open& o) { return o.call == answer.call; });
  if (open == open_.end()) return;
  const JobTruth& job = parts_.world->jobs()[open->job];
  if (refused) {
    parts_.checker->Refused(job);
    open_.erase(open);
    return;
  }
  if (!open->submitted) {
    parts_.checker->Acknowledged(job, *submitted);
    open->submitted = true;
    open->next_ms = parts_.events->now_ms() + kLookMs;
    return;
  }
  parts_.checker->Seen(job, *submitted, answer.progress);
  const bool removed = !submitted->job;
  if (!removed && (!answer.progress || !HasEnded(answer.progress->state))) return;
  if (old_.size() < kMaxOld) {
    old_.push_back(open->job);
  } else {
    old_[random_.Below(kMaxOld)] = open->job;
  }
  open_.erase(open);
}

std::vector<uint32_t> Person::Waiting() const {
  std::vector<uint32_t> jobs;
  for (const Open& open : open_) jobs.push_back(open.job);
  return jobs;
}

void Person::Adopt(uint32_t job) {
  open_.push_back({.job = job,
                   .submitted = true,
                   .cancel = false,
                   .call = 0,
                   .next_ms = parts_.events->now_ms()});
}

bool Person::GiveUp(uint32_t job) {
  const auto open =
      std::find_if(open_.begin(), open_.end(), [&](const Open& o) { return o.job == job; });
  return open != open_.end() && !std::exchange(open->cancel, true);
}

}  // namespace corpgrid::sim
