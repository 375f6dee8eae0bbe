#include "sim/world.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <utility>

#include "base/version.h"
#include "fmt/format.h"

namespace corpgrid::sim {
namespace {

constexpr uint32_t kMaxOwners = 24;
constexpr uint64_t kGiB = 1ull << 30;

// The byte of an output's hash that says how it was rounded: 0, 1 or 2, and 0 is not close to 2.
constexpr size_t kRoundingByte = 31;

crypto::Hash HashOf(uint64_t a, uint64_t b, uint64_t c) {
  uint64_t state = a * 0x9e3779b97f4a7c15 ^ b * 0xc2b2ae3d27d4eb4f ^ c;
  crypto::Hash hash;
  for (size_t i = 0; i < hash.bytes.size(); i += sizeof state) {
    const uint64_t word = Random::SplitMix(&state);
    std::memcpy(hash.bytes.data() + i, &word, sizeof word);
  }
  return hash;
}

job::Result Success(const JobTruth& job, const crypto::Hash& hash) {
  job::Result result{.outcome = job::Outcome::kExited, .exit_code = 0, .outputs = {}};
  for (const std::string& name : job.spec->outputs) result.outputs.push_back({name, hash, 1000});
  return result;
}

job::Result Failure(int status) {
  return {.outcome = job::Outcome::kExited, .exit_code = status, .outputs = {}};
}

}  // namespace

World::World(uint64_t seed, uint32_t devices) : random_(seed) {
  const uint32_t owners = std::clamp(devices * 3 / 4, 1u, kMaxOwners);
  const uint64_t liars = random_.Below(owners / 3 + 1);
  const bool collude = random_.Below(2) == 0;
  for (uint32_t i = 0; i < owners; ++i) {
    owners_.push_back({.name = fmt::format("owner-{}", i),
                       .join_secret = HashOf(seed, i, 1),
                       .devices = 0,
                       .lies = i < liars,
                       .group = i < liars && collude ? 1 + i % 2 : 0});
  }
  Populate(seed, devices, owners);
  // The last owner is honest.
  if (random_.Below(4) != 0) {
    for (DeviceTruth& device : devices_) device.trusted = device.owner == owners - 1;
  }
}

World::World(uint64_t seed, uint32_t devices, double liars, bool colluding)
    : random_(seed), of_liars_(true) {
  const uint32_t owners = std::clamp(devices, 1u, 100u);
  for (uint32_t i = 0; i < owners; ++i) {
    owners_.push_back({.name = fmt::format("owner-{}", i), .join_secret = HashOf(seed, i, 1)});
  }
  for (auto left = static_cast<uint32_t>(std::lround(liars * owners)); left > 0;) {
    Owner& owner = owners_[random_.Below(owners)];
    if (std::exchange(owner.lies, true)) continue;
    owner.group = colluding ? 1 : 0;
    --left;
  }
  Populate(seed, devices, owners);
  uint32_t trusted = 6;
  for (DeviceTruth& device : devices_) {
    if (trusted == 0 || owners_[device.owner].lies) continue;
    device.trusted = true;
    --trusted;
  }
}

void World::Populate(uint64_t seed, uint32_t devices, uint32_t owners) {
  for (uint32_t i = 0; i < devices; ++i) {
    DeviceTruth device;
    // Each owner has a device; the rest is spread unevenly.
    device.owner = i < owners ? i : static_cast<uint32_t>(random_.Below(owners / 2 + 1));
    device.info.public_key = std::string(HashOf(seed, i, 2).Raw());
    device.info.name = fmt::format("device-{}", i);
    ++owners_[device.owner].devices;
    devices_.push_back(std::move(device));
    Refit(i, &random_);
  }
}

void World::Refit(uint32_t device, Random* random) {
  core::DeviceRow& info = devices_[device].info;
  info.version = fmt::format("0.{}.0", random->Between(1, 4));
  info.site = fmt::format("site-{}", random->Below(3));
  info.cpus = 2u << random->Below(4);
  info.memory_bytes = kGiB << random->Between(2, 6);
  info.backends = 1u << static_cast<unsigned>(job::Backend::kCpu);
  info.vram_bytes = 0;
  if (random->Below(3) == 0) {
    info.backends |= 1u << static_cast<unsigned>(job::Backend::kVulkan);
    info.vram_bytes = kGiB << random->Between(2, 5);
  }
  info.network_allowed = random->Below(4) != 0;
  info.labels.clear();
  if (random->Below(2) == 0) info.labels.emplace_back("fast-disk");
  info.drivers = fmt::format("driver {}", random->Below(2));
  info.attestation =
      random->Below(3) == 0 ? core::Attestation::kUnattested : core::Attestation::kMeasured;
}

void World::Upgrade(uint32_t device) {
  core::DeviceRow& info = devices_[device].info;
  info.protocol = info.protocol == kProtocol ? kOldestProtocol : kProtocol;
}

// Not asked of the spec, which might be wrong.
uint32_t World::ProtocolOf(const job::JobFields& fields) {
  const bool is_new = fields.project != job::kDefaultProject || fields.redundancy.max_error != 0 ||
                      fields.placement != job::Placement();
  return is_new ? 2 : 1;
}

job::JobFields World::NewTarget() {
  job::JobFields fields;
  fields.name = "target";
  fields.command = {"/bin/true"};
  fields.shards = static_cast<uint32_t>(random_.Between(10, 400));
  fields.outputs = {"out"};
  constexpr double kBounds[] = {0.1, 0.2, 0.3};
  if (random_.Below(6) == 0) {
    fields.redundancy.max_error = kBounds[random_.Below(std::size(kBounds))];
  } else {
    fields.redundancy.replicas = fields.redundancy.quorum = 2;
  }
  return fields;
}

std::optional<job::Result> World::LieOf(uint32_t device, const JobTruth& job, ShardId shard) const {
  constexpr uint64_t kPartOfLies = 4;  // one shard in so many
  const Owner& owner = owners_[devices_[device].owner];
  if (!of_liars_ || !owner.lies) return std::nullopt;
  const uint64_t liar = owner.group != 0 ? owner.group : 1'000 + device;
  uint64_t dice = shard.job.value << 40 ^ uint64_t { shard.index } << 8 ^ liar;
  if (Random::SplitMix(&dice) % kPartOfLies != 0) return std::nullopt;
  return Success(job, HashOf(shard.job.value, shard.index, liar * 2 + 2));
}

uint32_t World::NewJob() {
  const uint32_t index = static_cast<uint32_t>(jobs_.size());
  if (of_liars_) {
    JobTruth target(fmt::format("key-{}", index), *job::JobSpec::Make(NewTarget()));
    target.run_ms = random_.Between(200, 2'000);
    return Add(std::move(target));
  }
  job::JobFields fields;
  fields.name = fmt::format("job-{}", index);
  fields.command = {"/bin/true"};
  fields.shards = static_cast<uint32_t>(random_.Between(1, 48));
  fields.outputs = {"out"};
  fields.retries = static_cast<uint32_t>(random_.Below(4));
  fields.limits.wall_ms = random_.Between(60'000, 600'000);
  fields.resources.cpus = static_cast<uint32_t>(random_.Between(1, 2));
  fields.redundancy.quorum = static_cast<uint32_t>(random_.Between(1, 3));
  fields.redundancy.replicas = fields.redundancy.quorum + static_cast<uint32_t>(random_.Below(2));
  // One owner cannot outvote itself, so devices count only where a quorum is asked for.
  const bool devices_count = random_.Below(8) == 0;
  fields.redundancy.distinct = devices_count ? job::Distinct::kDevice : job::Distinct::kOwner;
  if (random_.Below(8) == 0) fields.resources.memory_bytes = 6 * kGiB;
  if (random_.Below(10) == 0) fields.limits.network = true;
  if (random_.Below(10) == 0) fields.placement.labels = {"fast-disk"};
  if (random_.Below(20) == 0) fields.placement.sites = {"site-0", "site-2"};
  if (random_.Below(20) == 0) fields.placement.attested = true;
  if (random_.Below(10) == 0) {
    fields.resources.backends = {job::Backend::kVulkan};
    fields.resources.vram_bytes = 4 * kGiB;
  }
  if (random_.Below(2) == 0) fields.checkpoint = job::Checkpoint{};
  if (fields.redundancy.quorum > 1 && random_.Below(4) == 0) {
    fields.redundancy.validator = job::Validator::kNumeric;
    fields.redundancy.tolerance.absolute = 1;
  }
  if (random_.Below(3) == 0) fields.priority = static_cast<int32_t>(random_.Between(-2, 2));
  if (random_.Below(12) == 0) fields.deadline_ms = random_.Between(2'000, 300'000);
  if (random_.Below(3) > 0) fields.project = kProjects.at(random_.Below(kProjects.size()));
  const uint32_t before = static_cast<uint32_t>(random_.Below(index + 1));
  if (random_.Below(6) == 0 && before < index && jobs_[before].id) {
    fields.after = {jobs_[before].id.value};
  }
  if (random_.Below(6) == 0) {
    constexpr double kBounds[] = {0.01, 0.1, 0.3, 0.6};
    job::Redundancy& redundancy = fields.redundancy;
    redundancy.replicas = redundancy.quorum = 1;
    redundancy.max_error = kBounds[random_.Below(std::size(kBounds))];
  }
  const auto spec = job::JobSpec::Make(std::move(fields));
  JobTruth job(fmt::format("key-{}", index), *spec);
  const uint64_t kind = random_.Below(20);
  constexpr Nature kOdd[] = {Nature::kFails, Nature::kRandom, Nature::kBreaks, Nature::kKills};
  job.nature = kind < std::size(kOdd) ? kOdd[kind] : Nature::kSound;
  job.run_ms = random_.Between(100, 8'000);
  return Add(std::move(job));
}

uint32_t World::Add(JobTruth job) {
  const uint32_t index = static_cast<uint32_t>(jobs_.size());
  job_by_key_[job.key] = index;
  jobs_.push_back(std::move(job));
  return index;
}

const JobTruth* World::FindJob(JobId id) const {
  const auto it = job_by_id_.find(id);
  return it == job_by_id_.end() ? nullptr : &jobs_[it->second];
}

JobTruth* World::FindKey(const std::string& key) {
  const auto it = job_by_key_.find(key);
  return it == job_by_key_.end() ? nullptr : &jobs_[it->second];
}

void World::Name(JobTruth* job, JobId id) {
  job->id = id;
  job_by_id_[id] = job_by_key_.at(job->key);
}

job::Result World::Truth(const JobTruth& job, ShardId shard, uint64_t salt) const {
  if (job.nature == Nature::kBreaks) {
    return {.outcome = job::Outcome::kDeviceFault, .exit_code = 0, .outputs = {}};
  }
  if (job.nature == Nature::kFails) return Failure(3);
  crypto::Hash hash =
      HashOf(shard.job.value, shard.index, job.nature == Nature::kRandom ? salt * 2 + 1 : 0);
  // Few are rounded otherwise, so that nearly all shards get their quorum.
  const bool rounds = job.spec->redundancy.validator == job::Validator::kNumeric;
  if (rounds) hash.bytes[kRoundingByte] = salt % 8 < 2 ? static_cast<uint8_t>(salt % 8 * 2) : 1;
  return Success(job, hash);
}

job::Result World::Lie(const JobTruth& job, ShardId shard, uint64_t liar) const {
  if ((shard.index + liar) % 4 == 0) return Failure(100 + static_cast<int>(liar % 100));
  return Success(job, HashOf(shard.job.value, shard.index, liar * 2 + 2));
}

int World::Rounding(const std::vector<job::Output>& outputs) {
  return outputs.empty() ? 0 : outputs[0].hash.bytes[kRoundingByte];
}

bool World::IsClose(const std::vector<job::Output>& a, const std::vector<job::Output>& b) {
  return std::memcmp(a.at(0).hash.bytes.data(), b.at(0).hash.bytes.data(), sizeof(uint64_t)) == 0 &&
         std::abs(Rounding(a) - Rounding(b)) <= 1;
}

uint64_t World::Vote(const job::Result& result) {
  uint64_t vote = static_cast<uint64_t>(result.outcome) << 32 ^
                  static_cast<uint64_t>(static_cast<uint32_t>(result.exit_code));
  if (!result.outputs.empty()) {
    uint64_t word = 0;
    std::memcpy(&word, result.outputs[0].hash.bytes.data(), sizeof word);
    vote ^= word;
  }
  return Random::SplitMix(&vote);
}

}  // namespace corpgrid::sim
