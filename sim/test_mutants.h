#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "audit/tree.h"
#include "fmt/format.h"
#include "sim/seams.h"

// Schedulers with a deliberate bug each, made at the seams so that the code under test stays as it
// is.
namespace corpgrid::sim {

struct RepliesBeforeTheCommit : Seams {
  bool RepliesEarly() override { return true; }
};

struct LosesResults : Seams {
  bool BeforeWrite(core::WriteBatch* rows) override {
    rows->results.clear();
    return true;
  }
};

struct LosesProgress : Seams {
  bool BeforeWrite(core::WriteBatch* rows) override {
    rows->job_progress.clear();
    return true;
  }
};

// Gives the checkpoint of one shard to the next.
struct MixesCheckpointsUp : Seams {
  void AfterApply(core::Effects* effects) override {
    for (core::Lease& lease : effects->leases) std::swap(lease.checkpoint, checkpoint);
  }
  std::optional<crypto::Hash> checkpoint;
};

struct LosesEndsOfLeases : Seams {
  bool BeforeWrite(core::WriteBatch* rows) override {
    std::erase_if(rows->attempts, [](const core::AttemptRow& row) {
      return row.state == core::AttemptState::kExpired;
    });
    return true;
  }
};

struct LosesACommit : Seams {
  bool BeforeWrite(core::WriteBatch*) override { return ++commits % 1'000 != 0; }
  int commits = 0;
};

struct IgnoresFailedCommits : Seams {
  absl::Status AfterWrite(absl::Status) override { return absl::OkStatus(); }
};

// Takes any device's word for any attempt.
struct TakesForeignLeases : Seams {
  void AfterApply(core::Effects* effects) override {
    for (const core::Lease& lease : effects->leases) leases[lease.attempt] = lease;
  }
  void BeforeApply(Body* body) override {
    auto* submit = std::get_if<core::SubmitResults>(body);
    if (!submit || submit->results.size() < 2) return;
    core::HandedIn& last = submit->results.back();  // what a thief adds to its own
    const auto it = leases.find(last.row.attempt);
    if (it == leases.end()) return;
    submit->device = it->second.device;
    last.lease_token = it->second.token;
    last.proof = core::Proof::kGood;
  }
  std::map<AttemptId, core::Lease> leases;
};

// Takes results with this flaw for good ones.
struct TakesFlawed : Seams {
  explicit TakesFlawed(core::Proof flaw) : flaw(flaw) {}
  void BeforeApply(Body* body) override {
    auto* submit = std::get_if<core::SubmitResults>(body);
    if (!submit) return;
    for (core::HandedIn& in : submit->results) {
      if (in.proof == flaw) in.proof = core::Proof::kGood;
    }
  }
  const core::Proof flaw;
};

struct NeverEndsLeases : Seams {
  void BeforeApply(Body* body) override {
    if (std::holds_alternative<core::Tick>(*body)) *body = core::FindJob{};
  }
};

struct DoesNotHearHeartbeats : Seams {
  void BeforeApply(Body* body) override {
    if (auto* beat = std::get_if<core::Heartbeat>(body)) beat->attempts.clear();
  }
};

struct ChangesJobs : Seams {
  explicit ChangesJobs(std::function<void(job::Redundancy*)> change) : change(std::move(change)) {}
  void BeforeApply(Body* body) override {
    auto* submit = std::get_if<core::SubmitJob>(body);
    if (!submit) return;
    job::JobFields fields = *submit->spec;
    change(&fields.redundancy);
    submit->spec = *job::JobSpec::Make(std::move(fields));
  }
  std::function<void(job::Redundancy*)> change;
};

struct ForgetsTheOrder : Seams {
  void BeforeApply(Body* body) override {
    auto* submit = std::get_if<core::SubmitJob>(body);
    if (!submit) return;
    job::JobFields fields = *submit->spec;
    fields.after.clear();
    submit->spec = *job::JobSpec::Make(std::move(fields));
  }
};

struct MissesDeadlines : Seams {
  void BeforeApply(Body* body) override {
    auto* submit = std::get_if<core::SubmitJob>(body);
    if (!submit) return;
    job::JobFields fields = *submit->spec;
    fields.deadline_ms = 0;
    submit->spec = *job::JobSpec::Make(std::move(fields));
  }
};

struct NeverDrains : Seams {
  void BeforeApply(Body* body) override {
    if (auto* drain = std::get_if<core::DrainDevice>(body)) drain->drained = false;
  }
};

struct HearsOfNoTrust : Seams {
  void BeforeApply(Body* body) override {
    if (std::holds_alternative<core::TrustDevice>(*body)) *body = core::StopPolling{};
  }
};

// What audits find is mended, but not told.
struct ConcealsWrongOnes : Seams {
  bool BeforeWrite(core::WriteBatch* rows) override {
    for (core::JobProgressRow& row : rows->job_progress) row.found_wrong = 0;
    return true;
  }
};

struct IgnoresBatteries : Seams {
  void BeforeApply(Body* body) override {
    if (auto* poll = std::get_if<core::Poll>(body)) poll->condition.power = core::Power::kMains;
    if (auto* beat = std::get_if<core::Heartbeat>(body)) {
      beat->condition.power = core::Power::kMains;
    }
  }
};

struct IgnoresHours : Seams {
  void BeforeApply(Body* body) override {
    if (auto* poll = std::get_if<core::Poll>(body)) poll->condition.closed.clear();
    if (auto* beat = std::get_if<core::Heartbeat>(body)) beat->condition.closed.clear();
  }
};

struct BelievesInLabels : Seams {
  void BeforeApply(Body* body) override {
    auto* join = std::get_if<core::RegisterDevice>(body);
    if (join) join->device.labels = {"fast-disk"};
  }
};

struct BelievesInLargeDevices : Seams {
  void BeforeApply(Body* body) override {
    auto* join = std::get_if<core::RegisterDevice>(body);
    if (join) join->device.memory_bytes *= 16;
  }
};

struct KeepsOutputsTwice : Seams {
  void AfterApply(core::Effects* effects) override {
    if (!effects->keep.empty()) effects->keep.push_back(effects->keep.front());
  }
};

struct DropsTheWinner : Seams {
  void AfterApply(core::Effects* effects) override {
    for (const auto& [attempt, job] : effects->keep) effects->drop.push_back(attempt);
  }
};

// Takes the word of whoever knows a lease for its device's own.
struct BelievesForeignDeaths : Seams {
  void AfterApply(core::Effects* effects) override {
    for (const core::Lease& lease : effects->leases) devices[lease.attempt] = lease.device;
  }
  void BeforeApply(Body* body) override {
    auto* report = std::get_if<core::ReportDeath>(body);
    if (!report) return;
    const auto it = devices.find(report->attempts.back().attempt);
    if (it != devices.end()) report->device = it->second;
  }
  std::map<AttemptId, DeviceId> devices;
};

struct DeletesObjectsEarly : Seams {
  bool DeletesEarly() override { return true; }
};

// Takes what is done for what nobody wants any more.
struct RemovesWhatIsDone : Seams {
  bool BeforeWrite(core::WriteBatch* rows) override {
    for (core::JobProgressRow& row : rows->job_progress) {
      if (row.state == core::JobState::kDone) row.state = core::JobState::kRemoved;
    }
    return true;
  }
};

struct KeepsRemovedRows : Seams {
  bool BeforeWrite(core::WriteBatch* rows) override {
    rows->forgotten_shards.clear();
    rows->forgotten_jobs.clear();
    return true;
  }
};

struct LosesTheLog : Seams {
  bool BeforeWrite(core::WriteBatch* rows) override {
    rows->audit.clear();
    return true;
  }
};

// Leaves the third of an event's entries out, and tells a tree that fits.
struct ConcealsAnEvent : Seams {
  explicit ConcealsAnEvent(std::string_view event)
      : beginning(fmt::format(R"({{"event":"{}",)", event)) {}
  bool BeforeWrite(core::WriteBatch* rows) override {
    for (core::AuditRow& row : rows->audit) {
      if (row.entry.starts_with(beginning) && ++seen == 3) continue;
      row.index = tree.size();
      row.nodes.clear();
      for (const audit::TreeHash& hash : tree.Append(audit::LeafHash(row.entry))) {
        row.nodes += hash.Raw();
      }
      kept.push_back(std::move(row));
    }
    rows->audit = std::exchange(kept, {});
    if (rows->meta) {
      rows->meta->audit_size = tree.size();
      rows->meta->audit_frontier = tree.Raw();
    }
    return true;
  }
  const std::string beginning;
  int seen = 0;
  audit::Frontier tree;
  std::vector<core::AuditRow> kept;
};

// Takes everything for close.
struct TakesAllForClose : Seams {
  void AfterApply(core::Effects* effects) override {
    for (const core::Comparison& comparison : effects->compare) {
      for (const auto& other : comparison.others) {
        others[comparison.result.attempt].push_back(other.attempt);
      }
    }
  }
  void BeforeApply(Body* body) override {
    if (auto* compared = std::get_if<core::Compared>(body)) {
      compared->close = others[compared->attempt];
    }
  }
  std::map<AttemptId, std::vector<AttemptId>> others;
};

struct LosesAnswers : Seams {
  void BeforeApply(Body* body) override {
    if (std::holds_alternative<core::Compared>(*body)) *body = core::Tick{};
  }
};

// Forgets something when it starts again.
struct Forgets : Seams {
  explicit Forgets(std::function<void(core::Snapshot*)> forget) : forget(std::move(forget)) {}
  void AfterLoad(core::Snapshot* snapshot) override { forget(snapshot); }
  std::function<void(core::Snapshot*)> forget;
};

struct Mutant {
  std::string name;
  std::function<std::unique_ptr<Seams>()> make;

  friend void PrintTo(const Mutant& mutant, std::ostream* out) { *out << mutant.name; }
};

template <typename T, typename... Args>
Mutant Make(std::string name, Args... args) {
  return {std::move(name), [args...] { return std::make_unique<T>(args...); }};
}

// What is read back from the store is not what was written.
inline std::vector<Mutant> ForgettingMutants() {
  return {
      Make<Forgets>("ForgetsTheLog",
                    [](core::Snapshot* snapshot) {
                      snapshot->meta.audit_size = 0;
                      snapshot->meta.audit_frontier.clear();
                    }),
      Make<Forgets>("TrustsEverybody",
                    [](core::Snapshot* s) {
                      for (core::DeviceRow& device : s->devices) device.trusted = true;
                    }),
      Make<Forgets>("ForgetsAudits",
                    [](core::Snapshot* s) {
                      for (core::ShardRow& shard : s->shards) shard.audit = core::AuditState::kNone;
                    }),
      Make<Forgets>("TimeGoesBack", [](core::Snapshot* s) { s->meta.time_ms /= 2; }),
      Make<Forgets>("GivesNumbersTwice",
                    [](core::Snapshot* s) {
                      s->meta.next_attempt = std::max<uint64_t>(s->meta.next_attempt, 4) - 3;
                    }),
      Make<Forgets>("ForgetsOldKeys", [](core::Snapshot* s) { s->finished.clear(); }),
      Make<Forgets>("ForgetsALease",
                    [](core::Snapshot* s) {
                      if (!s->attempts.empty()) s->attempts.pop_back();
                    }),
      Make<Forgets>("ForgetsCheckpoints", [](core::Snapshot* s) { s->checkpoints.clear(); }),
      Make<Forgets>("ForgetsVotes", [](core::Snapshot* s) { s->results.clear(); }),
  };
}

inline std::vector<Mutant> Mutants() {
  std::vector<Mutant> mutants = {
      Make<RepliesBeforeTheCommit>("RepliesBeforeTheCommit"),
      Make<LosesResults>("LosesResults"),
      Make<LosesProgress>("LosesProgress"),
      Make<LosesTheLog>("LosesTheLog"),
      Make<ConcealsAnEvent>("ConcealsAToken", "join token created"),
      Make<ConcealsAnEvent>("ConcealsADevice", "device registered"),
      Make<ConcealsAnEvent>("ConcealsAJob", "job submitted"),
      Make<ConcealsAnEvent>("ConcealsAnEnd", "job ended"),
      Make<ConcealsAnEvent>("ConcealsALiar", "result outvoted"),
      Make<ConcealsAnEvent>("ConcealsARemoval", "job removed"),
      Make<BelievesForeignDeaths>("BelievesForeignDeaths"),
      Make<DeletesObjectsEarly>("DeletesObjectsEarly"),
      Make<RemovesWhatIsDone>("RemovesWhatIsDone"),
      Make<KeepsRemovedRows>("KeepsRemovedRows"),
      Make<TakesAllForClose>("TakesAllForClose"),
      Make<LosesAnswers>("LosesAnswers"),
      Make<MixesCheckpointsUp>("MixesCheckpointsUp"),
      Make<LosesEndsOfLeases>("LosesEndsOfLeases"),
      Make<LosesACommit>("LosesACommit"),
      Make<IgnoresFailedCommits>("IgnoresFailedCommits"),
      Make<TakesForeignLeases>("TakesForeignLeases"),
      Make<TakesFlawed>("TakesForgedSignatures", core::Proof::kBadSignature),
      Make<TakesFlawed>("TakesResultsWithoutBytes", core::Proof::kBytesMissing),
      Make<NeverEndsLeases>("NeverEndsLeases"),
      Make<DoesNotHearHeartbeats>("DoesNotHearHeartbeats"),
      Make<ChangesJobs>("CountsDevicesNotOwners",
                        [](job::Redundancy* r) { r->distinct = job::Distinct::kDevice; }),
      Make<ChangesJobs>("CountsOneVoteForAll",
                        [](job::Redundancy* r) {
                          r->quorum = 1;
                          r->validator = job::Validator::kExact;
                        }),
      Make<ForgetsTheOrder>("ForgetsTheOrder"),
      Make<MissesDeadlines>("MissesDeadlines"),
      Make<NeverDrains>("NeverDrains"),
      Make<HearsOfNoTrust>("HearsOfNoTrust"),
      Make<ConcealsWrongOnes>("ConcealsWrongOnes"),
      Make<IgnoresBatteries>("IgnoresBatteries"),
      Make<IgnoresHours>("IgnoresHours"),
      Make<BelievesInLabels>("BelievesInLabels"),
      Make<BelievesInLargeDevices>("BelievesInLargeDevices"),
      Make<KeepsOutputsTwice>("KeepsOutputsTwice"),
      Make<DropsTheWinner>("DropsTheWinner"),
  };
  for (Mutant& mutant : ForgettingMutants()) mutants.push_back(std::move(mutant));
  return mutants;
}

}  // namespace corpgrid::sim
