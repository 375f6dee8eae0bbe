#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "audit/tree.h"
#include "base/ids.h"
#include "core/host_report.h"
#include "core/reputation.h"
#include "core/rows.h"
#include "crypto/hash.h"
#include "job/spec.h"
#include "job/statement.h"

// What may happen to the grid, and what comes of it.
namespace corpgrid::core {

enum class Power : uint8_t { kUnknown, kMains, kBattery };

// How a device is just now. It travels with every call and is in no store.
struct Condition {
  Condition(Power source = Power::kUnknown) : power(source) {}  // NOLINT(*explicit*)

  Power power;
  double thermal_headroom = -1;  // 0..1, 0 too hot; negative: it does not say
  std::string closed;            // why its owner lends it to nobody now; empty: he does
};

// Makes a device known, or known again. Idempotent by public key: a known device keeps its id and
// owner.
struct RegisterDevice {
  DeviceRow device;  // id and owner are the grid's to fill in
  std::optional<crypto::Hash> join_secret_hash;
};

// Lets `uses` devices of `owner` join. Idempotent by key.
struct CreateJoinToken {
  JoinTokenRow token;
};

// The caller has checked that the staged bytes are what `signature` covers. Idempotent by key for
// as long as the job is there: once it is removed, its key makes a new one.
struct SubmitJob {
  std::string idempotency_key;
  job::JobSpec spec;
  crypto::Hash spec_hash;
  crypto::Hash bundle_hash;
  uint64_t bundle_bytes = 0;
  std::string submitter_key;
  std::string signature;
};

struct CancelJob {
  JobId job;
};

// Forgets a job that has ended: from here on it is as if there had been none, but in the audit log.
// Its rows are deleted in slices, by Ticks. Removing what was removed before is no error.
struct RemoveJob {
  JobId job;
};

// Makes a project, or changes what is given of one. Idempotent.
struct SetProject {
  std::string name;
  std::optional<uint32_t> weight = {};  // 1 to Grid::kMaxWeight
  // As in ProjectRow; kNoLimit lifts one.
  std::optional<uint64_t> max_cpus = {};
  std::optional<uint64_t> max_memory_bytes = {};
  std::optional<uint64_t> max_gpus = {};
  std::optional<uint64_t> max_running = {};
  std::optional<uint64_t> max_queued = {};
};

// Only while none of its jobs is unfinished. Idempotent: one that is not there is as one removed.
struct RemoveProject {
  std::string name;
};

// Hosts a model (core/hosting.h), or changes how. Idempotent.
struct LoadModel {
  ModelRow model;  // its version is the grid's to fill in, and its digest where that is empty
};

struct UnloadModel {
  std::string name;
};

// Somebody has a request for a loaded model that may be asleep.
struct WakeModel {
  std::string name;
};

// What a device hosts and could host, every few seconds; answered with what it is to host. Moves
// models when that has to be.
struct ReportHost {
  HostReport report;
  Condition condition = {};
};

// The device waits for at most `max_shards`. Leases that it has and does not list are given again.
struct Poll {
  DeviceId device;
  uint32_t max_shards = 0;
  Condition condition = {};
  std::vector<AttemptId> held;
};

// The device gets no more work, or gets work again. What it has it finishes, or with `now` saves
// and gives back.
struct DrainDevice {
  DeviceId device;
  bool drained = true;
  bool now = false;
};

// The device's results are right from now on, whatever others say; or they are not any more.
struct TrustDevice {
  DeviceId device;
  bool trusted = true;
};

// The device waits no longer.
struct StopPolling {
  DeviceId device;
};

struct AttemptProgress {
  AttemptId attempt;
  double fraction = -1;
};

// Extends the leases of the attempts listed.
struct Heartbeat {
  DeviceId device;
  Condition condition = {};
  std::vector<AttemptProgress> attempts;
};

// What the caller found out about a result before the core hears of it.
enum class Proof : uint8_t { kGood, kBadSignature, kBytesMissing };

struct HandedIn {
  ResultRow row;
  std::string lease_token;
  Proof proof = Proof::kGood;
};

// Idempotent: handing in again what was accepted is accepted and changes nothing.
struct SubmitResults {
  DeviceId device;
  std::vector<HandedIn> results;
};

// The attempt's state is staged; the shard's next attempt may go on from it.
struct ReportCheckpoint {
  DeviceId device;
  AttemptId attempt;
  std::string lease_token;
  crypto::Hash state;
};

// What its agent notes before it begins an attempt tells the device, on starting again, that it or
// its agent died while it ran these: not after a stop in order, nor a sleep. A shard that runs on
// Grid::kMaxDeaths devices when they die is taken for the cause. With care, for a person who resets
// machines, or a liar, shall not stop a job by themselves:
//  - Only a device that has the lease, or had it until it ran out, is heard, once an attempt.
//  - Of each party (owners, or devices where the job says so) one device counts.
//  - A device counts for a shard only while it ran the shard in each of its deaths of the last
//    Deaths::kWindowMs: what dies with other shards as well is no witness.
// Uses up no retries; for the device's reputation it is a lease that ran out. Where the attempt had
// saved a state, the device has its lease again after the first death, and loses it at the next.
// Idempotent, but for a lease that was left.
struct ReportDeath {
  struct Begun {
    AttemptId attempt;
    std::string lease_token;
  };
  DeviceId device;
  std::vector<Begun> attempts;  // that ran when it died
};

// The answer to a Comparison. Idempotent.
struct Compared {
  AttemptId attempt;
  std::vector<AttemptId> close = {};  // of those it was compared with
  std::string difference = {};        // from one that it is not close to; for people
};

// Time passed: expires leases, removes jobs that ended long ago.
struct Tick {};

// A scheduler begins to lead the grid, for the store's `term`th time (Store::Term).
struct NoteStart {
  int64_t term = 0;
};

// Reads. They change nothing.
struct FindJob {  // the job that a key made; 0 when none
  std::string idempotency_key;
};
struct ViewJob {
  JobId job;
};
struct WhyJob {
  JobId job;
};
struct WhyDevice {
  DeviceId device;
};
struct ViewDevices {};
struct ViewProjects {};
struct ViewHosting {};
struct ViewLog {};  // the audit log's

struct Command {
  int64_t time_ms = 0;                // grid time, never before the last command's
  int64_t wall_ms = 0;                // for people
  std::array<uint8_t, 32> seed = {};  // for the tokens of this command's leases; unguessable
  std::variant<RegisterDevice, CreateJoinToken, SubmitJob, CancelJob, RemoveJob, DrainDevice,
               TrustDevice, SetProject, RemoveProject, LoadModel, UnloadModel, WakeModel,
               ReportHost, Poll, StopPolling, Heartbeat, SubmitResults, ReportCheckpoint,
               ReportDeath, Compared, Tick, NoteStart, FindJob, ViewJob, WhyJob, WhyDevice,
               ViewDevices, ViewProjects, ViewHosting, ViewLog>
      body;
};

struct Registered {
  DeviceId device;
  std::string owner;
};

struct Submitted {
  JobId job;
  bool existed = false;
};

struct Verdict {
  AttemptId attempt;
  bool accepted = false;
  std::string reason;  // why not
};

struct Stop {
  AttemptId attempt;
  std::string reason;
  bool give_back = false;  // save its state, then hand it back; else it is wanted no longer
};

struct RunningAttempt {
  AttemptId attempt;
  uint32_t shard = 0;
  double fraction = -1;
};

// What only memory knows of a job that has not ended.
struct JobView {
  std::vector<RunningAttempt> running;
};

struct DeviceView {
  DeviceRow row;
  ReputationRow reputation;
  Tier tier = Tier::kUnproven;
  double mean = 0;  // of its reputation (core/reputation.h)
  double lower_bound = 0;
  Condition condition = {};
  int64_t silent_ms = -1;  // since it was last heard; -1: not since the scheduler started
  uint32_t leases = 0;
  bool lost = false;
};

struct ProjectView {
  ProjectRow row;
  uint64_t cpus = 0, memory_bytes = 0, gpus = 0, attempts = 0;  // that it uses now
  double share = 0;  // dominant: its largest part of a resource of the grid
  uint32_t jobs_queued = 0;
  uint32_t jobs_running = 0;
};

// The audit log's tree.
struct LogView {
  uint64_t size = 0;
  audit::TreeHash root;
};

// Permission for a device to run an attempt. Its token is what the device shows for the attempt's
// objects and its result.
struct Lease {
  AttemptId attempt;
  ShardId shard;
  DeviceId device;
  std::string token;
  std::optional<crypto::Hash> checkpoint;
  // Attempts of the shard were lost before: the device had better be sure that its note of having
  // begun it survives.
  bool careful = false;
};

// A question to whoever can read the outputs: which of `others` are close to `result`, by the
// validator of the shard's job. Its answer is a Compared; that it is asked again does no harm.
struct Comparison {
  struct Side {
    AttemptId attempt;
    std::vector<job::Output> outputs;
  };
  ShardId shard;
  Side result;
  std::vector<Side> others;
};

using Reply =
    std::variant<absl::Status, Registered, Submitted, std::vector<Verdict>, std::vector<Stop>,
                 JobView, std::vector<std::string>, std::vector<DeviceView>,
                 std::vector<ProjectView>, HostOrders, HostingView, LogView>;

// What a command did. The rows are to be committed before anyone hears of the rest.
struct Effects {
  Reply reply = absl::OkStatus();
  WriteBatch rows;
  std::vector<Lease> leases;  // answers to devices that wait
  std::vector<Comparison> compare;
  std::vector<AttemptId> ended;                   // their grants end
  std::vector<std::pair<AttemptId, JobId>> keep;  // staged outputs that are now the job's
  std::vector<AttemptId> drop;                    // staged outputs that nobody needs
  std::vector<AttemptId> drop_states;             // staged states that nobody needs
  std::vector<JobId> changed;                     // jobs whose state or counts changed
  std::vector<JobId> removed;  // jobs that nobody will ask for: what is kept for them goes
};

}  // namespace corpgrid::core
