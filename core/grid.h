#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "audit/entry.h"
#include "audit/tree.h"
#include "core/bound.h"
#include "core/commands.h"
#include "core/deaths.h"
#include "core/expiries.h"
#include "core/grid_limits.h"
#include "core/grid_types.h"
#include "core/hosting.h"
#include "core/job_queue.h"
#include "core/placement.h"
#include "core/projects.h"
#include "core/reputation.h"
#include "core/rows.h"
#include "core/waiting.h"

namespace corpgrid::core {

// The scheduler's state machine: every decision about devices, jobs, shards, leases and quorum, and
// nothing else. It has no clock, I/O, threads or randomness of its own, so the same commands give
// the same effects, to the bit. One thread.
//
// A shard's life. It is `fresh` (part of the job's range, no row), then `live` (it has attempts),
// then done or failed, when it leaves memory. A live shard is `open` while it wants more attempts
// than it has. Between the acceptance of its result and its end it may wait for an audit.
class Grid : public GridLimits, GridTypes {
 public:
  // Goes on from `snapshot`. Every live lease gets one full TTL from `snapshot.meta.time_ms`.
  // Errors: DataLoss when the snapshot contradicts itself.
  static absl::StatusOr<Grid> Load(const GridConfig& config, Snapshot snapshot);

  Grid(Grid&&) = default;
  Grid& operator=(Grid&&) = default;

  Effects Apply(const Command& command);

  // The meta row as it is now; the daemon adds the batch number and commits it with the rows.
  const MetaRow& meta() const { return meta_; }

  // What a grant table needs after Load: the live attempts.
  std::vector<Lease> LiveLeases() const;
  bool HasLive(AttemptId attempt) const { return attempts_.contains(attempt); }

  // What Effects.compare asked for and nobody answered, after Load.
  std::vector<Comparison> OpenComparisons() const;

  // The attempts, live or not, whose saved states somebody may go on from.
  std::set<AttemptId> AttemptsWithState() const;

 private:
  explicit Grid(const GridConfig& config) : config_(config), hosting_(config.lease_ttl_ms()) {}

  // grid.cc
  void LoadDevices(Snapshot* snapshot);
  absl::Status LoadJobs(Snapshot* snapshot);
  Reply Do(const RegisterDevice& c, Effects* effects);
  Reply Do(const CreateJoinToken& c, Effects* effects);
  Reply Do(const SubmitJob& c, Effects* effects);
  Reply Do(const CancelJob& c, Effects* effects);
  Reply Do(const core::FindJob& c, Effects* effects);
  Reply Do(const ViewJob& c, Effects* effects);
  Reply Do(const ViewDevices& c, Effects* effects);
  void EndJob(Job& job, JobState state, std::string error, Effects* effects);

  // grid_trust.cc: what trusted devices are for
  Reply Do(const TrustDevice& c, Effects* effects);
  // OK when a trusted device can keep the bound that the job asks for.
  absl::Status MayPromise(const Job& job) const;
  uint64_t AuditChanceOf(const job::JobSpec& spec) const;
  // Whether a trusted device can run the job that was heard within the last `silent_ms`.
  bool HasAuditor(const Job& job, int64_t silent_ms = INT64_MAX) const;
  // The shards of `job` that nobody has yet and `device` may have.
  static uint32_t FreshFor(const Job& job, const Device& device);
  // How many have to agree with `winner`.
  uint32_t QuorumOf(const Job& job, const Attempt& winner) const;
  // After a result of `shard` was accepted: whether it waits for an audit, or for those of others.
  // The attempts that do not count have then ended.
  bool AwaitAudit(Job& job, Shard& shard, Effects* effects);
  // Whether a trusted device takes part, or did.
  static bool HasTrusted(const Shard& shard);
  // The result of a trusted device that counts; null when there is none.
  static const Attempt* CheckedOf(const Shard& shard);
  // Whether it is known of all results of `shard` which of the others they agree with.
  static bool AllCount(const Shard& shard);
  // Whether equal results speak for those who gave them.
  static bool Confirms(const Job& job) { return job.promises() || job.spec->redundancy.quorum > 1; }
  // After a trusted device computed `shard` alone: whether another device is to compute it as well,
  // and not know that the answer is known.
  bool AwaitProbe(Job& job, Shard& shard, const Attempt& truth, Effects* effects);
  // Counts what the trusted result `truth` says of the result that was accepted before.
  void Audited(Job& job, const Shard& shard, const Attempt& truth, Effects* effects);
  // What the right result says of the device that gave `attempt`.
  void Judge(const Job& job, const Attempt& truth, const Attempt& attempt);
  // Ends the waits for audits that nobody begins.
  void DropLateAudits(Effects* effects);
  // Lets the held shards of jobs go whose audits are over.
  void Release(Effects* effects);
  void ReleaseSoon(const Job& job);
  // Puts the shards that Load has read where devices find them. DataLoss when one was accepted
  // without a result.
  absl::Status GoOnWith(Job& job);
  // How many of the job's results may be wrong.
  void SetBound(Job& job) const;

  // grid_order.cc: which job goes before which
  Reply Do(const DrainDevice& c, Effects* effects);
  // OK when `job` may be submitted; it then knows what it waits for.
  absl::Status Follow(Job* job) const;
  // Makes `job` wait for those that it follows and that have not ended.
  void FollowUnfinished(Job* job) const;
  // Puts `job` where the jobs it waits for find it, and its deadline where time does.
  void Await(const Job& job);
  void CountRunning(Job& job, int change);
  // Lets the jobs that waited for ended ones begin, or fails them.
  void SettleFollowers(Effects* effects);
  void EndLateJobs(Effects* effects);
  // Takes running attempts away from jobs of lower priority for those that wait too long.
  void Preempt();
  // The job for which `attempt` is to be given back, while that job still needs it.
  const Job* GivesWayTo(Attempt& attempt);
  // Why `attempt` is to be given back; empty when it is not.
  std::string WhyGiveBack(Attempt& attempt, const Condition& condition);
  void PreemptFor(Job& job);

  // grid_lease.cc: who runs what, and until when
  Reply Do(const Poll& c, Effects* effects);
  Reply Do(const StopPolling& c, Effects* effects);
  Reply Do(const Heartbeat& c, Effects* effects);
  Reply Do(const Tick& c, Effects* effects);
  int64_t PausedUntilMs(const Job& job, DeviceId device) const;
  void PauseAfterFault(Job& job, DeviceId device);
  // Leases at most `limit` shards of `job` to `device`, as far as it may take them.
  void LeaseFrom(Job& job, Device& device, uint32_t limit, Effects* effects);
  void LeaseShard(Job& job, Shard& shard, Device& device, Effects* effects);
  uint32_t ReplicasOn(const Job& job, const Device& device) const;
  void StartLease(const Job& job, const Device& device, Attempt& attempt);
  void Extend(Attempt& attempt);
  void EndAttempt(Attempt& attempt, AttemptState state, Effects* effects);
  void EraseLease(Device& device, AttemptId attempt);
  // Ends an attempt that leaves its shard without a vote; the shard is open again after Lost() or
  // Reopen().
  void Abandon(const Found& found, AttemptState state, Effects* effects);

  // grid_match.cc: which shards go to which of the devices that wait
  // Gives a device the shards that it wants and may take, the first project's first job's first.
  void Match(Device& device, Effects* effects);
  // Leases at most `limit` shards of the first job of `project` behind `from` that has any for
  // `device`, looking at no more than `left` jobs. False when none of them has.
  bool LeaseFirst(const Project& project, Device& device, uint32_t limit, Rank* from, size_t* left,
                  Effects* effects);
  // Gives a device that did not get to all projects something of any, beginning where it stopped.
  void Sweep(Device& device, Effects* effects);
  // Gives what is new to the devices that wait, the first project's first job's first.
  void GiveNewWork(Effects* effects);
  // Gives at most `limit` shards of `job` to the best of the devices that wait. False when none may
  // take any.
  bool MatchWaiting(Job& job, uint32_t limit, Effects* effects);
  // Whether it gets work of any job now.
  static bool TakesWork(const Device& device);
  void Wait(Device& device);
  void StopWaiting(Device& device);
  // grid_versions.cc
  void TakeBackNotUnderstood(Device& device, Effects* effects);
  // Match for a device that waits: what it gets answers its poll.
  void Offer(Device& device, Effects* effects);
  // The open shard that `device` may take, of at most kMaxCandidates the one that keeps its
  // replicas furthest apart; end() when there is none.
  Live::iterator FindOpen(Job& job, const Device& device);

  // grid_projects.cc: whose turn it is, and what it may use
  Reply Do(const SetProject& c, Effects* effects);
  Reply Do(const RemoveProject& c, Effects* effects);
  Reply Do(const ViewProjects& c, Effects* effects);
  absl::StatusOr<Project*> FindProject(const std::string& name);
  // Makes the project of this row, or gives a known one the row.
  Project& AddProject(ProjectRow row);
  // OK when `project` takes another job whose shards want this.
  static absl::Status CheckQuotas(const Project& project, const Requirements& want);
  // The device is there, and counts among what the grid has until it falls silent.
  void Hear(Device& device);
  void ForgetSilentDevices();
  // What decides about the project's place in the order has changed.
  void Touch(Project& project);
  // Puts the projects that were touched where they belong. What they have room for again is new
  // work.
  void SettleProjects();
  void PlaceProject(Project& project);
  void AddNewWork(const Job& job);
  // The project has got so many attempts more.
  void CountGot(Project& project, const Requirements& want, uint64_t attempts);
  // Why a job that could run waits for its project, in a sentence; empty when it does not.
  std::string WhyProjectWaits(const Job& job) const;

  // grid_hosting.cc: which device hosts which model
  Reply Do(const LoadModel& c, Effects* effects);
  Reply Do(const UnloadModel& c, Effects* effects);
  Reply Do(const WakeModel& c, Effects* effects);
  Reply Do(const ReportHost& c, Effects* effects);
  Reply Do(const ViewHosting& c, Effects* effects);

  // grid_score.cc: who should run what
  Standing StandingOf(const Device& device) const;
  double UseNow(const Device& device) const;
  // How unlike `device` is to those that run the shard, 0..1; 1 when nobody does.
  double Diversity(const Shard& shard, const Device& device) const;
  // Of the devices that wait and may take a shard of `job` the one with the best score.
  Device* BestWaiting(Job& job);

  // grid_quorum.cc: what results mean
  Reply Do(const SubmitResults& c, Effects* effects);
  Verdict HandIn(Device& device, const HandedIn& in, Effects* effects);
  Verdict Refuse(Device& device, AttemptId attempt, std::string reason, Effects* effects);
  void Blame(Device& device, Fault fault);
  // Of the results that count, but those of trusted devices, the one that most agree with.
  struct Tally {
    const Attempt* winner = nullptr;
    uint32_t votes = 0;
    uint32_t counted = 0;
  };
  static Tally Count(const Job& job, const Shard& shard);
  // After one more of the shard's results counts. Whether the shard was decided.
  bool Decide(Job& job, Shard& shard, Effects* effects);
  // The results that agree with `winner` are right.
  void Conclude(Job& job, Shard& shard, const Attempt& winner, Effects* effects);
  void FinishShard(Job& job, Shard& shard, ShardState state, std::string error, Effects* effects);
  // After one of the shard's attempts was abandoned for a reason that counts against the shard.
  void Lost(Job& job, Shard& shard, Effects* effects);
  // The shard wants more attempts than it has: puts it where devices find it.
  void Requeue(Job& job, const Shard& shard);

  // grid_compare.cc: which results are the same where equal bytes are too much to ask
  Reply Do(const Compared& c, Effects* effects);
  static bool LooksInside(const Job& job);
  // Whether two counted results of a shard are the same in the eyes of its job.
  static bool Agree(const Job& job, const Attempt& a, const Attempt& b);
  static Comparison ComparisonOf(const Shard& shard, const Attempt& attempt);

  // grid_checkpoint.cc: who goes on from which saved state
  Reply Do(const ReportCheckpoint& c, Effects* effects);
  std::string HolderOf(const Job& job, const Shard& shard, const AttemptRow& attempt) const;
  std::optional<crypto::Hash> StateFor(const Job& job, const Shard& shard,
                                       const AttemptRow& attempt) const;
  void ForgetStates(Shard& shard, Effects* effects);
  void DropUnnamedState(const AttemptRow& attempt, Effects* effects);

  // grid_death.cc: what devices die of
  Reply Do(const ReportDeath& c, Effects* effects);
  // The shard of an attempt during which `device` may have died.
  std::optional<ShardId> ShardBegun(const Device& device, const ReportDeath::Begun& begun);
  // Of the shards that ran when `device` died, the one `id`.
  void BlameShard(Device& device, ShardId id, Effects* effects);
  std::string DeathsOf(const Shard& shard);
  Lease LeaseOf(const Job& job, const Shard& shard, const Attempt& attempt) const;

  // grid_remove.cc: how jobs that have ended are forgotten
  Reply Do(const RemoveJob& c, Effects* effects);
  void LoadEnded(const std::vector<FinishedJob>& jobs);
  void AddEnded(const std::string& key, JobId id, const Ended& ended);
  void Remove(JobId id, std::string_view why, Effects* effects);
  void RemoveOld(Effects* effects);
  void DeleteSome(Effects* effects);  // of the rows of removed jobs

  // grid_why.cc
  Reply Do(const WhyJob& c, Effects* effects);
  Reply Do(const WhyDevice& c, Effects* effects);
  // What the job's audits keep waiting.
  static void AddAudits(const Job& job, std::vector<std::string>* sentences);

  // grid_audit.cc: what goes to the audit log, with the rows of what it tells of
  Reply Do(const NoteStart& c, Effects* effects);
  Reply Do(const ViewLog& c, Effects* effects);
  void Log(const audit::Entry& entry, Effects* effects);
  audit::Entry NewEntry(std::string_view event) const;
  void LogToken(const JoinTokenRow& row, Effects* effects);
  void LogDevice(const DeviceRow& row, const JoinTokenRow& token, Effects* effects);
  void LogChange(Device& device, const DeviceRow& now, Effects* effects);
  void LogStranger(const RegisterDevice& c, const std::string& reason, Effects* effects);
  void LogDrain(const DeviceRow& row, Effects* effects);
  void LogTrust(const DeviceRow& row, Effects* effects);
  void LogWrong(const AttemptRow& accepted, const AttemptRow& truth, Effects* effects);
  void LogProject(const ProjectRow& row, Effects* effects);
  void LogModel(const ModelRow& row, Effects* effects);
  void LogSubmission(const Job& job, Effects* effects);
  void LogEnd(const JobProgressRow& row, Effects* effects);
  void LogRemoval(JobId id, std::string_view why, Effects* effects);
  void LogRefusal(Device& device, AttemptId attempt, const std::string& reason, Effects* effects);
  void LogDeath(DeviceId device, ShardId shard, Effects* effects);
  void LogDisagreement(const AttemptRow& row, Effects* effects);

  static Party PartyOf(const Job& job, const Device& device);
  Party PartyOf(const Job& job, const AttemptRow& attempt);
  Party NumberOf(const std::string& owner);
  static Parties PartiesOf(const Shard& shard);
  // Puts `shard` into the job's index of open shards, or takes it out, to match its attempts. Call
  // Close before and Reopen after a change of its attempts.
  void Close(Job& job, const Shard& shard);
  void Reopen(Job& job, const Shard& shard);
  // Makes its project's queue hold the job exactly when it has shards to give.
  void UpdateQueue(Job& job);
  Device* FindDevice(DeviceId id);
  Job* FindJob(JobId id);
  // All null when there is no live attempt `id`.
  Found FindAttempt(AttemptId id);
  void Remember(const Attempt& attempt);

  GridConfig config_;
  MetaRow meta_;
  audit::Frontier audit_;  // what meta_ says of it
  int64_t wall_ms_ = 0;
  std::array<uint8_t, 32> seed_ = {};

  // Rows to write when the command is done, once however often they changed.
  std::set<JobId> dirty_jobs_;
  std::set<DeviceId> dirty_devices_;
  // Jobs that may have something for the devices that wait, by their project's turn.
  std::map<Turn, std::set<Rank>> new_work_;

  std::map<DeviceId, Device> devices_;
  std::set<DeviceId> trusted_;
  std::unordered_map<std::string, Party> owners_;
  std::unordered_map<std::string, DeviceId> device_by_key_;
  std::map<crypto::Hash, JoinTokenRow> join_tokens_;
  std::unordered_set<std::string> join_token_keys_;
  std::map<std::string, uint64_t> strangers_;  // registrations that were refused, by reason
  std::map<JobId, Job> jobs_;                  // that have not ended
  std::unordered_map<std::string, JobId> job_by_key_;
  std::unordered_map<JobId, Ended> ended_;    // all jobs that have ended and are not removed
  std::set<std::pair<int64_t, JobId>> ends_;  // of ended_, by when they ended
  std::map<JobId, uint32_t> removing_;        // removed jobs, with how many shards have rows
  std::multimap<JobId, JobId> followers_;     // that wait for the first one
  std::vector<JobId> just_ended_;
  int64_t next_preemption_ms_ = 0;
  std::unordered_map<AttemptId, Place> attempts_;
  std::map<std::string, Project> projects_;
  Turns turns_;
  std::vector<Project*> moved_;
  Amounts totals_;          // of all devices that are there
  Amounts counted_totals_;  // by which the shares in turns_ were counted
  int64_t next_totals_ms_ = 0;
  uint64_t got_ = 0;  // what the project had got that got something last, or an earlier one
  WaitingDevices waiting_;
  Hosting hosting_;
  Expiries<AttemptId> expiries_;
  Expiries<DeviceId> silences_;  // of the devices that are there
  std::multimap<int64_t, JobId> pause_ends_;
  std::multimap<int64_t, JobId> deadlines_;
  std::multimap<int64_t, ShardId> retries_;     // when shards that failed are queued again
  std::multimap<int64_t, ShardId> audit_ends_;  // when audits that nobody began are dropped
  std::set<JobId> releases_;                    // jobs whose audits are over

  std::unordered_map<AttemptId, Remembered> remembered_;
  std::deque<AttemptId> remembered_order_;
};

}  // namespace corpgrid::core
