#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/client.h"
#include "cli/json.h"
#include "corpgrid/v1/jobs.pb.h"
#include "job/spec.h"

namespace corpgrid::cli {

// Calls `visit` for every shard of a job that was ever leased, in order, from shard `first` on,
// until it returns an error, which is returned.
absl::Status ForEachShard(Client& client, uint64_t job_id, uint32_t first,
                          const std::function<absl::Status(const corpgrid::v1::Shard&)>& visit);

// One shard. Errors: NotFound when it was never leased.
absl::StatusOr<corpgrid::v1::Shard> GetShard(Client& client, uint64_t job_id, uint32_t index);

// What a device did for a job.
struct DeviceWork {
  std::string name;
  std::string owner;
  uint32_t agreed = 0;     // results that were part of a quorum
  uint32_t disagreed = 0;  // results that a quorum was against
  int64_t cpu_ms = 0;
};

// A shard that ended a job.
struct FailedShard {
  uint32_t index = 0;
  std::string error;
  corpgrid::v1::Attempt attempt;  // the last one with a result; id 0 when there is none
};

// What became of a job, from its shards and attempts.
struct JobReport {
  uint32_t shards = 0;
  uint32_t done = 0;
  // Done, by agreeing results of at least `quorum` distinct owners, or by a trusted device.
  uint32_t verified = 0;
  uint32_t trusted = 0;  // of the done ones, by a trusted device
  uint32_t quorum = 0;
  bool has_bound = false;  // the job asks for max_error
  job::Distinct distinct = job::Distinct::kOwner;
  std::map<uint64_t, DeviceWork> devices;
  std::vector<FailedShard> failures;  // at most kMaxFailures of them

  static constexpr size_t kMaxFailures = 100;

  void Add(const corpgrid::v1::Shard& shard);
};

JobReport EmptyReport(const job::JobSpec& spec);
absl::StatusOr<JobReport> ReportOf(Client& client, uint64_t job_id, const job::JobSpec& spec);

Json ToJson(const JobReport& report);
// The devices as a table, and the line that says what was verified.
std::string DeviceTable(const JobReport& report);
std::string VerifiedLine(const JobReport& report);
// How many of the job's results may be wrong, and how anybody knows.
std::string BoundText(const corpgrid::v1::Job& job);

// "exit code 3", "killed by SIGSEGV", "wall time over its limit"; "" for an attempt without result.
std::string OutcomeText(const corpgrid::v1::Attempt& attempt);

// The attempt of a shard whose logs a person wants: one that agreed, else the last with a result,
// else null.
const corpgrid::v1::Attempt* TellingAttempt(const corpgrid::v1::Shard& shard);

// Every shard with its attempts, for people.
std::string ShardTable(const corpgrid::v1::Job& job,
                       const std::vector<corpgrid::v1::Shard>& shards);

}  // namespace corpgrid::cli
