// Shards that the core alone leases and decides in a second, on one core and in memory: a device
// polls for 64 of them, hands them all in, and the next one comes, in random order. The job has a
// million queued shards throughout. Then the same with 100,000 devices and 1,000 projects that all
// have work, so that each lease is another project's turn. Ends with the ratio of the cost of a
// shard with 100,000 devices to that with 1,000.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "core/grid.h"
#include "fmt/format.h"

namespace corpgrid::core {
namespace {

constexpr uint32_t kQueued = 1'000'000;
constexpr uint32_t kShardsAPoll = 64;
constexpr int kTurns = 5;
constexpr double kTurnSeconds = 1;
constexpr size_t kSizes[] = {1'000, 10'000, 100'000};
constexpr int64_t kAim = 300'000;
constexpr size_t kManyProjects = 1'000;

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

class World {
 public:
  // All jobs are of as many projects, of which those beyond the first get weights of 1 to 4.
  explicit World(size_t devices, size_t projects = 1)
      : grid_(*Grid::Load({}, {})), projects_(projects) {
    for (size_t i = 0; i < devices; ++i) Join(i);
    std::shuffle(devices_.begin(), devices_.end(), random_);
    for (size_t i = 1; i < projects; ++i) {
      Apply(SetProject{.name = NameOf(i), .weight = static_cast<uint32_t>(1 + i % 4)});
    }
    SubmitJobs();
  }

  // Shards done in a second.
  double Turn() {
    const uint64_t before = done_;
    const double start = Seconds();
    while (Seconds() - start < kTurnSeconds) {
      for (int i = 0; i < 16; ++i) Cycle();
    }
    return static_cast<double>(done_ - before) / (Seconds() - start);
  }

 private:
  Effects Apply(decltype(Command::body) body) {
    command_.time_ms = 1 + static_cast<int64_t>(done_ / 300);  // 300 shards a millisecond
    command_.seed[0] = static_cast<uint8_t>(done_);
    command_.body = std::move(body);
    return grid_.Apply(command_);
  }

  void Join(size_t i) {
    const crypto::Hash secret = crypto::Blake3(std::to_string(i));
    Apply(CreateJoinToken{{.secret_hash = secret,
                           .owner = fmt::format("owner-{}", i / 3),
                           .uses_left = 1,
                           .idempotency_key = secret.Hex()}});
    RegisterDevice c;
    c.device.public_key = std::string(secret.Raw());
    c.device.name = fmt::format("device-{}", i);
    c.device.site = fmt::format("site-{}", i % 10);
    c.device.cpus = 4 + static_cast<uint32_t>(i % 5) * 4;
    c.device.memory_bytes = (8ull + i % 7 * 8) << 30;
    c.device.backends = 1;
    c.join_secret_hash = secret;
    devices_.push_back(std::get<Registered>(Apply(std::move(c)).reply).device);
  }

  static std::string NameOf(size_t project) {
    return project == 0 ? std::string(job::kDefaultProject) : fmt::format("project-{}", project);
  }

  void SubmitJobs() {
    ++rounds_;
    for (size_t i = 0; i < projects_; ++i) SubmitJob(i);
  }

  void SubmitJob(size_t project) {
    job::JobFields fields;
    fields.name = "bench";
    fields.command = {"/bin/true"};
    fields.shards = kQueued + kQueued;
    fields.project = NameOf(project);
    Apply(core::SubmitJob{.idempotency_key = std::to_string(++keys_),
                          .spec = *job::JobSpec::Make(fields),
                          .spec_hash = {},
                          .bundle_hash = {},
                          .bundle_bytes = 0,
                          .submitter_key = "",
                          .signature = ""});
  }

  void Cycle() {
    // At most a million done: as many are queued still.
    if (done_ / kQueued >= rounds_) SubmitJobs();
    const DeviceId device = devices_[next_++ % devices_.size()];
    const Effects polled = Apply(
        Poll{.device = device, .max_shards = kShardsAPoll, .condition = Power::kMains, .held = {}});
    SubmitResults submit{.device = device, .results = {}};
    submit.results.reserve(polled.leases.size());
    for (const Lease& lease : polled.leases) {
      HandedIn& in = submit.results.emplace_back();
      in.row.attempt = lease.attempt;
      in.row.result.outcome = job::Outcome::kExited;
      in.row.signature.assign(64, 's');
      in.lease_token = lease.token;
    }
    const Effects submitted = Apply(std::move(submit));
    const auto& verdicts = std::get<std::vector<Verdict>>(submitted.reply);
    if (verdicts.size() != kShardsAPoll || !verdicts[0].accepted) std::abort();
    done_ += verdicts.size();
  }

  std::mt19937_64 random_{1};
  Grid grid_;
  Command command_;
  std::vector<DeviceId> devices_;
  size_t next_ = 0;
  size_t projects_;
  uint64_t rounds_ = 0;
  uint64_t keys_ = 0;
  uint64_t done_ = 0;
};

int Main() {
  std::vector<World> worlds;
  for (const size_t devices : kSizes) worlds.emplace_back(devices);
  worlds.emplace_back(kSizes[std::size(kSizes) - 1], kManyProjects);
  std::vector<std::vector<double>> rates(worlds.size());
  for (int turn = 0; turn < kTurns; ++turn) {
    for (size_t i = 0; i < worlds.size(); ++i) rates[i].push_back(worlds[i].Turn());
  }
  std::vector<double> medians;
  for (std::vector<double>& rate : rates) {
    std::sort(rate.begin(), rate.end());
    medians.push_back(rate[kTurns / 2]);
  }
  for (size_t i = 0; i < std::size(kSizes); ++i) {
    fmt::print("{:6} devices: {:.0f} shards/s (median of {}, {} shards a poll)\n", kSizes[i],
               medians[i], kTurns, kShardsAPoll);
  }
  const double many_projects = medians.back();
  medians.pop_back();
  fmt::print("{:6} devices, {} projects: {:.0f} shards/s\n", kSizes[std::size(kSizes) - 1],
             kManyProjects, many_projects);
  fmt::print("cycles-per-second-at-100k {:.0f} (aim {})\n", medians.back(), kAim);
  fmt::print("ratio core-cost-100k-vs-1k {:.2f}\n", medians.front() / medians.back());
  return 0;
}

}  // namespace
}  // namespace corpgrid::core

int main() { return corpgrid::core::Main(); }
