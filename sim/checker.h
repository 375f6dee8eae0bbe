#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <queue>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "core/grid.h"
#include "sim/digest.h"
#include "sim/event_queue.h"
#include "sim/messages.h"
#include "sim/report.h"
#include "sim/world.h"

namespace corpgrid::sim {

// Knows what is true, watches what the scheduler is asked, what reaches its store and what it says,
// and notes every contradiction. It looks only at what changed, so its cost does not grow with the
// grid. What it checks:
//  - an answer goes out only when what it says is in the store, and stays true after a crash;
//  - a shard is decided once, by equal (or, for a numeric job, close) results of as many different
//  owners as its job asks for,
//    each of which its device really signed and uploaded under its own live lease;
//  - a lease is given to a device that suits the job, understands it and is neither on battery, nor
//  closed, nor drained, never twice at the same
//    time to one owner for a shard; it ends when its time is over, not before, and never comes
//    back;
//  - no job that was accepted is lost, doubled or ended without a reason; none begins before those
//    that it follows are done, or goes on after its deadline;
//  - a shard fails for its devices' deaths when enough parties told of one, and no more of them die
//  of it than leases of it may run out;
//  - a job is removed when a person asked for it or its time is over, and only when it has ended;
//  of a job that is not removed no row goes and no object, and of one that is in the end all;
//  - no lease exceeds a quota of its project, or goes to one while another that uses less by its
//    weight has a fresh shard for that device;
//  - a trusted device's result decides, and attempts are trusted exactly when the operator trusts
//  their device; each wrong result that an audit finds is counted, and a job that asks for a bound
//  ends with none that is larger;
//  - numbers are used once and grid time never goes back;
//  - the audit log has an entry for every join token, device, job that begins or ends and result
//    that is outvoted, with the row that says so; it only grows, and the tree that the core goes on
//    from is the one of all its entries.
class Checker {
 public:
  // All must outlive the checker.
  Checker(World* world, const EventQueue* events, const core::GridConfig& config, Digest* digest);

  // The scheduler's side, in this order for a batch: what was applied, at which grid time; whether
  // its rows landed; each reply that goes out.
  void Applied(const std::vector<Request>& requests, const std::vector<core::Effects>& effects,
               int64_t time_ms);
  void Landed(const core::WriteBatch& batch);
  void Unknown(const core::WriteBatch& batch);  // the commit failed; it may have landed
  void Released(const Request& request, const core::Effects& effects);

  void Crashed() { applied_ = nullptr; }
  void Loaded(const core::Snapshot& snapshot);
  void Reloaded(const core::Grid& grid);
  void CannotLoad(const absl::Status& status);

  // What a person was told.
  void Acknowledged(const JobTruth& job, const core::Submitted& reply);
  void Refused(const JobTruth& job);
  void Seen(const JobTruth& job, const core::Submitted& reply,
            const std::optional<core::JobProgressRow>& progress);

  // A person asks for a job to be removed, ended or not.
  void Removing(JobId job) { asked_for_removal_.insert(job); }
  // The objects that were kept for a job are gone.
  void Deleted(JobId owner);
  bool IsRemoved(JobId job) const;
  // Whether nothing is left of removed jobs, and no job is there whose time is over. `owners` are
  // the jobs for which objects are kept.
  bool AllGone(const std::set<JobId>& owners) const;
  // The jobs, by their index in the world, that have not ended.
  std::vector<uint32_t> Unfinished() const;

  // Whether nobody who is left can decide a shard of `job`.
  bool Starved(const JobTruth& job) const;

  // A device that joined and that the operator should trust; none when all are trusted.
  DeviceId NotYetTrusted() const;

  // Whether every device of an owner is in the store, so that the owner's token is used up.
  bool AllJoined(uint32_t owner) const { return joined_[owner] == world_->owners()[owner].devices; }

  void Fail(std::string what);
  uint64_t violations() const { return violations_; }
  const std::vector<std::string>& messages() const { return messages_; }
  uint64_t jobs(core::JobState state) const { return jobs_ended_[static_cast<size_t>(state)]; }
  uint64_t shards_done() const { return shards_done_; }
  uint64_t lies_accepted() const { return lies_accepted_; }
  const std::vector<JobBound>& bounds() const { return bounds_; }
  size_t live_attempts() const { return live_attempts_; }

 private:
  struct DeviceFact {
    uint32_t agent = 0;
    core::DeviceRow row;      // in the store
    core::DeviceRow applied;  // in the core's memory
    core::Condition condition = {};
    uint64_t condition_load = 0;  // the load since which that is known
    uint64_t drained_round = 0;   // when it was drained last
    uint64_t trust_round = 0;     // when it was trusted or no more, last
    int trust_changes = 0;        // in that round
    int64_t contact_ms = 0;
    std::vector<AttemptId> running;  // its leases
  };
  struct AttemptFact {
    ShardId shard;
    DeviceId device;
    std::string token;
    uint32_t try_number = 0;
    bool trusted = false;
    core::AttemptState state = core::AttemptState::kRunning;
    int64_t start_ms = 0;  // or of the load since which the lease runs anew
    int64_t heard_ms = 0;  // when the lease was last extended by name
    std::optional<uint64_t> vote;
    int rounding = 0;      // of the vote (World::Rounding)
    bool success = false;  // of the vote
    bool saved = false;    // a checkpoint of its was acknowledged
    uint64_t start_round = 0;
    uint64_t left_round = 0;  // in which it was handed in or ended
    uint64_t ended_round = 0;
    uint64_t ended_load = 0;
    bool winner = false;
    bool kept = false;
  };
  struct ShardFact {
    uint32_t tries = 0;
    uint32_t expired = 0;
    uint32_t faults = 0;
    uint32_t votes = 0;            // in this try
    std::vector<uint64_t> states;  // reported as checkpoints
    std::vector<AttemptId> live;   // running or handed in
    std::vector<AttemptId> agreed;
    std::set<DeviceId> died;  // that said so, of this shard
    core::AuditState audit = core::AuditState::kNone;
    AttemptId accepted;  // while it is audited or held
  };
  struct JobFact {
    uint32_t truth = 0;  // index in the world
    core::JobState state = core::JobState::kQueued;
    int64_t submitted_ms = 0;
    uint32_t next_shard = 0;
    uint32_t done = 0;
    uint32_t failed = 0;
    uint32_t checked = 0;      // done by a trusted device
    uint32_t wrong = 0;        // done, and a lie
    uint32_t found_wrong = 0;  // as the job's row says
    uint32_t mended = 0;       // that the checker saw
    uint32_t live_attempts = 0;
    int64_t finished_ms = 0;
    bool removed = false;
    bool gone = false;          // its rows as well
    uint32_t rows_left = 0;     // shards with rows, of a removed job
    std::vector<bool> decided;  // by shard
    std::map<uint32_t, ShardFact> shards;
  };

  // CPUs, bytes of memory, GPUs and attempts.
  using Amounts = std::array<uint64_t, 4>;
  struct ProjectFact {
    core::ProjectRow row;
    Amounts used = {};
  };
  struct UnknownCommit {
    core::WriteBatch batch;
    std::vector<Request> requests;
  };

  const JobTruth& TruthOf(const JobFact& job) const { return world_->jobs()[job.truth]; }
  uint64_t PartyOf(const JobTruth& job, DeviceId device) const;
  static bool Suits(const core::DeviceRow& has, const job::JobFields& wants);
  static bool TrustedOnly(const job::JobFields& spec);
  static bool HasEnded(core::JobState state);
  static bool IsLive(core::AttemptState state);

  // checker.cc
  void AppliedOne(const Request& request, const core::Effects& effects);
  void CheckLease(const core::Lease& lease);
  void ReleasedVerdicts(const Request& request, const std::vector<core::Verdict>& verdicts);
  bool MayBeGivenBack(const DeviceFact& device, const AttemptFact& fact) const;
  void ReleasedStops(const core::Heartbeat& beat, const std::vector<core::Stop>& stops);
  void ReleasedPoll(const core::Poll& poll, const core::Effects& effects);
  bool MustRepeat(const AttemptFact& fact) const;
  static bool MustKeep(const AttemptFact& fact);
  void ReleasedBytes(const core::Effects& effects);
  void ReleasedCheckpoint(const Request& request, const core::ReportCheckpoint& report);
  void ReleasedLease(const core::Lease& lease);
  static uint64_t Short(const crypto::Hash& hash);
  void CheckOverdue(int64_t now_ms);
  // When its lease ends unless a heartbeat extends it. `max_queued_ms` depends on the device's
  // standing.
  int64_t DeadlineMs(const AttemptFact& fact, int64_t max_queued_ms) const;

  // checker_projects.cc: whose turn it is, and what a project may use
  static Amounts AmountsOf(const JobTruth& job);
  static Amounts QuotasOf(const core::ProjectRow& row);
  static bool FitsQuotas(const core::ProjectRow& row, const Amounts& used, const Amounts& more);
  static bool UsesLess(const ProjectFact& a, const ProjectFact& b);
  // Null when it is not known.
  const JobTruth* AppliedJob(JobId id) const;
  void BeginProjectsRound();
  void AppliedProjects(const Request& request, const core::Effects& effects);
  void AppliedRemoval(const std::string& name, bool removed);
  void AppliedSubmission(const core::SubmitJob& submit, const core::Reply& reply);
  void NotePause(AttemptId id);
  void StopsUsing(AttemptId id);
  void CheckProject(const core::Lease& lease, const DeviceFact& device);
  void CheckTurn(const core::Lease& lease, const ProjectFact& project, const DeviceFact& device);
  void LandedProjects(const core::WriteBatch& batch);
  void LoadedProjects(const core::Snapshot& snapshot);
  void ReloadedProjects();

  // checker_audit.cc: the audit log as it reached the store
  void LandedAudit(const core::WriteBatch& batch);
  uint64_t NewTokens(const core::WriteBatch& batch);
  uint64_t NewDevices(const core::WriteBatch& batch) const;
  uint64_t NewRemovals(const core::WriteBatch& batch) const;

  // checker_trust.cc: what trusted devices are for
  uint64_t FoundWrong(const core::WriteBatch& batch) const;
  void ReleasedTrust(const core::TrustDevice& trust);
  void CheckTrusted(const core::AttemptRow& row, const DeviceFact& device);
  bool Agree(AttemptId a, AttemptId b) const;
  // The vote that counts when only those who are not trusted have one.
  AttemptId Favourite(const ShardFact& shard) const;
  void LandedAudited(JobFact* job, const ShardFact& shard, const core::ShardRow& row);
  void CheckCounts(JobFact* job, const core::JobProgressRow& row);
  // Whether a trusted device can compute what nobody else is left for.
  bool HasTrusted(const JobTruth& job) const;

  // checker_load.cc: what came back from it
  // Whether `snapshot` is what the store holds right after `batch`.
  static bool IsLast(const core::WriteBatch& batch, const core::Snapshot& snapshot);
  void LoadedUnknown(const core::Snapshot& snapshot);

  // checker_rows.cc: what reached the store
  void LandedMeta(const core::MetaRow& row);
  void LandedDevice(const core::DeviceRow& row);
  void LandedJob(const core::JobRow& row);
  void LandedAttempt(const core::AttemptRow& row, const core::WriteBatch& batch);
  AttemptFact* NewAttempt(const core::AttemptRow& row, JobFact* job);
  void LandedVote(const core::ResultRow* row, AttemptId id, AttemptFact* fact, JobFact* job);
  bool WasHandedIn(const core::ResultRow& row, const AttemptFact& fact) const;
  void LandedShard(const core::ShardRow& row);
  void CheckQuorum(const JobFact& job, ShardFact* shard, const core::ShardRow& row,
                   uint32_t try_number, bool success);
  void CheckLiars(const ShardFact& shard, const core::ShardRow& row);
  void Decided(JobFact* job, ShardFact* shard, const core::ShardRow& row);
  void LandedProgress(const core::JobProgressRow& row);
  // checker_removal.cc: what goes from the store
  // Before the jobs: a batch may have one anew under the key of another that it removes.
  void LandedRemovals(const core::WriteBatch& batch);
  void LandedRemoval(const core::JobProgressRow& row, JobFact* job);
  void LandedDeletions(const core::WriteBatch& batch);
  bool IsOneOf(const JobTruth& job, JobId id) const;
  bool WasRemoved(const JobTruth& job) const;

  // Whether a job may have failed with none of its shards.
  bool MayFailWhole(const JobFact& job) const;
  // Whether one that `job` follows has ended, in another way than done.
  bool FollowsAFailure(const JobTruth& job) const;
  void CheckFollows(const core::WriteBatch& batch);
  void CheckFollows(const JobTruth& job);
  void CheckDeadlines();
  void CheckUnderstood(const core::Lease& lease);
  void HeardOfDeath(const core::ReportDeath& report);
  bool MayCount(AttemptId id) const;
  void Retire(AttemptId id);

  World* const world_;
  const EventQueue* const events_;
  const core::GridConfig config_;
  Digest* const digest_;

  const std::vector<Request>* applied_ = nullptr;  // the batch that is being decided
  int64_t applied_ms_ = 0;
  uint64_t rounds_ = 0;           // of Applied
  std::vector<AttemptId> fresh_;  // leased in this batch
  // The commits that failed since one last landed, in their order: at most one of them has landed,
  // the last or, when its bytes lay on the disk as the power failed, an earlier one.
  std::vector<UnknownCommit> unknown_;
  std::vector<Request> unknown_requests_;  // of the one that landed
  bool resurrecting_ = false;

  core::MetaRow meta_;
  audit::Frontier audit_;  // of the entries that landed
  std::set<crypto::Hash> tokens_;
  uint64_t last_attempt_ = 0;  // before the batch that lands
  uint64_t loads_ = 0;
  std::unordered_map<std::string, uint32_t> agent_by_key_;
  std::map<DeviceId, DeviceFact> devices_;
  std::vector<uint32_t> joined_;  // devices in the store, by owner
  std::unordered_map<AttemptId, AttemptFact> attempts_;
  std::multimap<int64_t, JobId> due_;  // by deadline
  std::deque<AttemptId> retired_;      // ended ones, the oldest first
  std::map<JobId, JobFact> jobs_;
  std::set<JobId> fresh_jobs_;                   // with shards that nobody has had, in the store
  std::map<std::string, ProjectFact> projects_;  // in the core's memory
  std::map<std::string, core::ProjectRow> landed_projects_;
  std::unordered_map<JobId, uint32_t> applied_jobs_;  // index in the world
  std::unordered_map<AttemptId, JobId> using_;        // attempts that count for their projects
  std::set<std::string> refused_;                     // keys of jobs that their project refused
  std::set<std::pair<JobId, DeviceId>> paused_;       // devices that gave a job's shards up
  // In this round:
  std::set<JobId> changed_;               // jobs, but by polls
  std::map<JobId, uint32_t> leased_;      // attempts
  std::multiset<std::string> submitted_;  // projects of jobs
  size_t live_attempts_ = 0;
  size_t unfinished_jobs_ = 0;
  size_t gone_jobs_ = 0;
  std::set<JobId> asked_for_removal_;
  std::set<std::string> removed_keys_;
  using Deadline = std::pair<int64_t, AttemptId>;
  std::priority_queue<Deadline, std::vector<Deadline>, std::greater<>> deadlines_;

  uint64_t jobs_ended_[5] = {};
  uint64_t shards_done_ = 0;
  uint64_t lies_accepted_ = 0;
  std::vector<JobBound> bounds_;
  uint64_t violations_ = 0;
  std::vector<std::string> messages_;
};

}  // namespace corpgrid::sim
