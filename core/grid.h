#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "core/commands.h"
#include "core/rows.h"

namespace corpgrid::core {

struct GridConfig {
  int64_t heartbeat_ms = 2000;
  int grace_heartbeats = 4;

  // FEATURES A5: heartbeat period x (grace missed + 1).
  int64_t lease_ttl_ms() const { return heartbeat_ms * (grace_heartbeats + 1); }
};

// The scheduler's state machine: every decision about devices, jobs, shards, leases and quorum, and
// nothing else. It has no clock, I/O, threads or randomness of its own, so the same commands give
// the same effects, to the bit. One thread.
//
// A shard's life. It is `fresh` (part of the job's range, no row), then `live` (it has attempts),
// then done or failed, when it leaves memory. A live shard is `open` while it wants more attempts
// than it has.
class Grid {
 public:
  // Bounds that keep a bad shard or device from using the grid up.
  static constexpr uint32_t kMaxExpired = 32;          // leases of one shard that may run out
  static constexpr uint32_t kMaxFaults = 8;            // device faults of one shard
  static constexpr uint32_t kMaxPollShards = 256;      // leases in one answer
  static constexpr size_t kMaxLeasesPerDevice = 1024;  // over all polls
  static constexpr int64_t kMaxQueuedMs =
      600'000;  // that a lease may wait before its wall limit counts
  static constexpr size_t kMaxRemembered = 1 << 16;    // ended attempts whose verdict is repeated
  static constexpr int64_t kFaultPauseMs = 200;        // doubles with each fault in a row, up to
  static constexpr int64_t kMaxFaultPauseMs = 30'000;  // this

  // Goes on from `snapshot`. Every live lease gets one full TTL from `snapshot.meta.time_ms`.
  // Errors: DataLoss when the snapshot contradicts itself.
  static absl::StatusOr<Grid> Load(const GridConfig& config, Snapshot snapshot);

  Grid(Grid&&) = default;
  Grid& operator=(Grid&&) = default;

  Effects Apply(const Command& command);

  // The meta row as it is now; the daemon adds the batch number and commits it with the rows.
  const MetaRow& meta() const { return meta_; }

  // When the next lease runs out, if any: no Tick is needed before.
  std::optional<int64_t> NextExpiryMs() const;

  // What a grant table needs after Load: the live attempts.
  std::vector<Lease> LiveLeases() const;

  // The attempts, live or not, whose saved states somebody may go on from.
  std::set<AttemptId> AttemptsWithState() const;

 private:
  // Who counts as one for the quorum: an owner, or a device.
  using Party = std::string;

  struct Attempt {
    AttemptRow row;
    std::optional<crypto::Hash> result_key;  // once handed in
    bool succeeded = false;
    int64_t expires_ms = 0;
    int64_t latest_ms = 0;  // no heartbeat extends it further
    double fraction = -1;
  };

  struct Shard {
    ShardRow row;
    std::vector<Attempt> attempts;  // of the current try that still count: running or handed in
    std::map<Party, CheckpointRow> checkpoints;  // of the current try, by holder
  };

  // A device that gave a job's shards up: it gets no more of this job for a while. Other jobs are
  // not held up, as the fault may be the job's doing.
  struct Pause {
    int faults_in_a_row = 0;
    int64_t until_ms = 0;
  };

  struct Job {
    Job(JobRow row, job::JobSpec spec) : row(std::move(row)), spec(std::move(spec)) {}

    JobRow row;
    job::JobSpec spec;
    std::map<uint32_t, Shard> live;
    // Open shards by the parties that already take part, so that a device finds one it may take
    // without a scan.
    std::map<std::set<Party>, std::set<uint32_t>> open;
    std::map<DeviceId, Pause> pauses;
  };

  struct Device {
    DeviceRow row;
    ReputationRow reputation;
    Power power = Power::kUnknown;
    int64_t last_seen_ms = 0;
    uint32_t wants = 0;  // shards it waits for
    std::set<AttemptId> leases;
  };

  struct Remembered {
    DeviceId device;
    std::string token;
    bool was_accepted = false;
    bool expired = false;
  };

  explicit Grid(const GridConfig& config) : config_(config) {}

  // grid.cc
  Reply Do(const RegisterDevice& c, Effects* effects);
  Reply Do(const CreateJoinToken& c, Effects* effects);
  Reply Do(const SubmitJob& c, Effects* effects);
  Reply Do(const CancelJob& c, Effects* effects);
  Reply Do(const core::FindJob& c, Effects* effects);
  Reply Do(const ViewJob& c, Effects* effects);
  Reply Do(const ViewDevices& c, Effects* effects);
  void EndJob(Job& job, JobState state, std::string error, Effects* effects);

  // grid_lease.cc: who runs what, and until when
  Reply Do(const Poll& c, Effects* effects);
  Reply Do(const StopPolling& c, Effects* effects);
  Reply Do(const Heartbeat& c, Effects* effects);
  Reply Do(const Tick& c, Effects* effects);
  void Match(Device& device, Effects* effects);
  void MatchWaiting(Effects* effects);
  int64_t PausedUntilMs(const Job& job, DeviceId device) const;
  void PauseAfterFault(Job& job, DeviceId device);
  // Leases one shard of `job` to `device`; false when there is none it may take.
  bool LeaseOne(Job& job, Device& device, Effects* effects);
  std::optional<uint32_t> FindOpen(const Job& job, const Party& party) const;
  void StartLease(const Job& job, Attempt& attempt);
  void Extend(Attempt& attempt);
  void EndAttempt(Attempt& attempt, AttemptState state, Effects* effects);

  // grid_quorum.cc: what results mean
  Reply Do(const SubmitResults& c, Effects* effects);
  Verdict HandIn(Device& device, const HandedIn& in, Effects* effects);
  Verdict Refuse(Device& device, AttemptId attempt, std::string reason);
  // After `latest` of the shard's attempts was handed in.
  void Decide(Job& job, Shard& shard, Attempt* latest, Effects* effects);
  void Conclude(Job& job, Shard& shard, const crypto::Hash& key, Effects* effects);
  void FinishShard(Job& job, Shard& shard, ShardState state, std::string error, Effects* effects);
  void Lost(Job& job, Shard& shard, Effects* effects);

  // grid_checkpoint.cc: who goes on from which saved state
  Reply Do(const ReportCheckpoint& c, Effects* effects);
  Party HolderOf(const Job& job, const Shard& shard, const AttemptRow& attempt) const;
  std::optional<crypto::Hash> StateFor(const Job& job, const Shard& shard,
                                       const AttemptRow& attempt) const;
  void ForgetStates(Shard& shard, Effects* effects);
  void DropUnnamedState(const AttemptRow& attempt, Effects* effects);

  // grid_why.cc
  Reply Do(const WhyJob& c, Effects* effects);
  Reply Do(const WhyDevice& c, Effects* effects);
  // Why `device` may not run shards of `job` whatever is queued; empty when it may.
  std::string Unfit(const Job& job, const Device& device) const;

  Party PartyOf(const Job& job, const Device& device) const;
  Party PartyOf(const Job& job, const AttemptRow& attempt) const;
  static std::set<Party> Parties(const Job& job, const Shard& shard, const Grid& grid);
  // Puts `shard` into the job's index of open shards, or takes it out, to match its attempts. Call
  // Close before and Reopen after a change of its attempts.
  void Close(Job& job, const Shard& shard);
  void Reopen(Job& job, const Shard& shard);
  Device* FindDevice(DeviceId id);
  Job* FindJob(JobId id);
  // The live attempt `id`, with its job and shard; null when there is none.
  struct Found {
    Job* job = nullptr;
    Shard* shard = nullptr;
    Attempt* attempt = nullptr;
  };
  Found FindAttempt(AttemptId id);
  void Remember(const Attempt& attempt);

  GridConfig config_;
  MetaRow meta_;
  int64_t wall_ms_ = 0;
  std::array<uint8_t, 32> seed_ = {};
  bool work_added_ = false;

  // Rows to write when the command is done, once however often they changed.
  std::set<JobId> dirty_jobs_;
  std::set<DeviceId> dirty_devices_;

  std::map<DeviceId, Device> devices_;
  std::unordered_map<std::string, DeviceId> device_by_key_;
  std::map<crypto::Hash, JoinTokenRow> join_tokens_;
  std::map<JobId, Job> jobs_;  // that have not ended
  std::unordered_map<std::string, JobId> job_by_key_;
  std::unordered_map<AttemptId, ShardId> attempts_;  // live ones
  std::deque<DeviceId> waiting_;

  // Leases by when they run out at the earliest: an entry may be older than its lease, never
  // younger.
  using Expiry = std::pair<int64_t, AttemptId>;
  std::priority_queue<Expiry, std::vector<Expiry>, std::greater<>> expiries_;

  std::multiset<int64_t> pause_ends_;

  std::unordered_map<AttemptId, Remembered> remembered_;
  std::deque<AttemptId> remembered_order_;
};

}  // namespace corpgrid::core
