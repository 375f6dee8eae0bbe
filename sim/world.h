#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/rows.h"
#include "job/spec.h"
#include "job/statement.h"
#include "sim/random.h"

// What is true in a simulated grid, whatever the scheduler believes: who owns which device, who
// lies, what each shard's result is.
namespace corpgrid::sim {

struct Owner {
  std::string name;
  crypto::Hash join_secret;
  uint32_t devices = 0;
  bool lies = false;
  uint32_t group = 0;  // of owners who tell the same lie; 0: none
};

struct DeviceTruth {
  uint32_t owner = 0;
  core::DeviceRow info;  // as the device reports itself; id and owner are the grid's
  bool trusted = false;  // the operator is going to trust it, and is right
};

enum class Nature : uint8_t {
  kSound,   // every honest device computes the same
  kFails,   // every honest device sees its command fail
  kRandom,  // no two results agree
  kBreaks,  // every device that runs it fails
  kKills,   // every device that runs its first shard dies
};

struct JobTruth {
  JobTruth(std::string key, job::JobSpec spec) : key(std::move(key)), spec(std::move(spec)) {}

  std::string key;  // the idempotency key
  job::JobSpec spec;
  Nature nature = Nature::kSound;
  int64_t run_ms = 0;  // of a shard, about
  JobId id;  // once it is in the store; another one when it was removed and submitted anew
  bool cancel_asked = false;
};

class World {
 public:
  World(uint64_t seed, uint32_t devices);
  // With this share of liars, each of whom lies about a part of the shards, all about the same ones
  // and alike when they collude; and with jobs that such liars can do most harm to.
  World(uint64_t seed, uint32_t devices, double liars, bool colluding);

  // The project that jobs are of which name none, and others; people make those.
  static constexpr std::array kProjects = {"default", "red", "green", "blue"};

  const std::vector<Owner>& owners() const { return owners_; }
  const std::vector<DeviceTruth>& devices() const { return devices_; }
  std::vector<JobTruth>& jobs() { return jobs_; }
  const std::vector<JobTruth>& jobs() const { return jobs_; }

  // Makes up a job and returns its index.
  uint32_t NewJob();
  // The job with this id: null while none is known to be in the store.
  const JobTruth* FindJob(JobId id) const;
  JobTruth* FindKey(const std::string& key);
  void Name(JobTruth* job, JobId id);

  // Other hardware or another version for a device.
  void Refit(uint32_t device, Random* random);

  // An agent of the protocol version before for a device that has one of this version, or the
  // reverse.
  void Upgrade(uint32_t device);
  // The oldest protocol version that knows all that `fields` ask for.
  static uint32_t ProtocolOf(const job::JobFields& fields);

  // What the device tells of the shard in a world of liars; none: the truth.
  std::optional<job::Result> LieOf(uint32_t device, const JobTruth& job, ShardId shard) const;
  // What an honest device computes; `salt` makes the results of Nature::kRandom differ.
  job::Result Truth(const JobTruth& job, ShardId shard, uint64_t salt) const;
  // A wrong result: the same for the same `liar`.
  job::Result Lie(const JobTruth& job, ShardId shard, uint64_t liar) const;
  // Two results agree when these are equal, or for a numeric job, when they are and the outputs are
  // close. Cheaper than Result::Key().
  static uint64_t Vote(const job::Result& result);
  // The outputs of numeric jobs stand for numbers that differ by rounding; not all of them are
  // close to each other.
  static int Rounding(const std::vector<job::Output>& outputs);
  static bool IsClose(const std::vector<job::Output>& a, const std::vector<job::Output>& b);

 private:
  void Populate(uint64_t seed, uint32_t devices, uint32_t owners);
  // In a world of liars.
  job::JobFields NewTarget();
  uint32_t Add(JobTruth job);

  Random random_;
  bool of_liars_ = false;
  std::vector<Owner> owners_;
  std::vector<DeviceTruth> devices_;
  std::vector<JobTruth> jobs_;
  std::unordered_map<std::string, uint32_t> job_by_key_;
  std::unordered_map<JobId, uint32_t> job_by_id_;
};

}  // namespace corpgrid::sim
