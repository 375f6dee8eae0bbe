#include "sim/simulation.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "fmt/format.h"
#include "sim/memory_store.h"
#include "sim/sqlite_storage.h"

namespace corpgrid::sim {
namespace {

constexpr int64_t kTroubleMs = 1'000;
constexpr int64_t kLookMs = 600'000;  // in the calm: how often starved jobs are sought
// In the calm: when all must be at rest. A shard that kills may lose core::Grid::kMaxExpired leases
// one after the other where only one device may run it, with some minutes for each to come back.
constexpr int64_t kPatienceMs = 3 * 3'600'000;
constexpr uint64_t kProgressEvents = 1 << 18;
constexpr uint32_t kJobsAPerson = 3;

// A number of its own for each part, so that one part's use of its numbers leaves the others alone.
enum Part : uint64_t {
  kFaultDice = 1,
  kTruth,
  kWire,
  kDisk,
  kDaemon,
  kShape,
  kAgents = 1'000'000,
  kPeople = 2'000'000
};
uint64_t SeedOf(uint64_t seed, uint64_t part) {
  uint64_t state = seed * 0x9e3779b97f4a7c15 + part;
  return Random::SplitMix(&state);
}

core::GridConfig ConfigOf(const Options& options) {
  core::GridConfig config;
  if (options.liars) return config;
  Random random(SeedOf(options.seed, kShape));
  config.heartbeat_ms = 1'000 << random.Below(4);
  config.grace_heartbeats = static_cast<int>(random.Between(2, 5));
  if (random.Below(3) != 0) config.keep_jobs_ms = random.Between(1'000, 1'200'000);
  constexpr double kRates[] = {0.05, 0.05, 0.3, 1};
  config.audit_rate = kRates[random.Below(std::size(kRates))];
  return config;
}

std::unique_ptr<Storage> NewStorage(const Options& options) {
  const uint64_t seed = SeedOf(options.seed, kDisk);
  if (options.store == StoreKind::kSqlite) return std::make_unique<SqliteStorage>(seed);
  return std::make_unique<MemoryStorage>(seed);
}

World WorldOf(const Options& options) {
  const uint64_t seed = SeedOf(options.seed, kTruth);
  if (options.liars) return World(seed, options.devices, *options.liars, options.colluding);
  return World(seed, options.devices);
}

int64_t TickMsOf(uint64_t seed) { return 100 << SeedOf(seed, kShape) % 4; }

}  // namespace

Simulation::Simulation(Options options, Seams* seams)
    : options_(std::move(options)),
      faults_(SeedOf(options_.seed, kFaultDice), options_.faults && !options_.liars),
      world_(WorldOf(options_)),
      network_(SeedOf(options_.seed, kWire), options_.devices, &events_, &faults_),
      checker_(&world_, &events_, ConfigOf(options_), &digest_),
      storage_(NewStorage(options_)),
      scheduler_(SeedOf(options_.seed, kDaemon), options_.devices, ConfigOf(options_),
                 TickMsOf(options_.seed),
                 {.events = &events_,
                  .network = &network_,
                  .faults = &faults_,
                  .storage = storage_.get(),
                  .checker = &checker_,
                  .seams = seams}) {
  const core::GridConfig config = ConfigOf(options_);
  agents_.reserve(options_.devices);
  for (uint32_t i = 0; i < options_.devices; ++i) {
    agents_.emplace_back(i, SeedOf(options_.seed, kAgents + i), config.heartbeat_ms,
                         Agent::Parts{.events = &events_,
                                      .network = &network_,
                                      .faults = &faults_,
                                      .world = &world_,
                                      .checker = &checker_,
                                      .loot = &loot_});
  }
  const uint32_t people = 1 + options_.devices / 16;
  for (uint32_t i = 0; i < people; ++i) {
    people_.emplace_back(options_.devices + i, SeedOf(options_.seed, kPeople + i), kJobsAPerson,
                         i == 0,
                         Person::Parts{.events = &events_,
                                       .network = &network_,
                                       .faults = &faults_,
                                       .world = &world_,
                                       .checker = &checker_});
  }
}

Report Simulation::Run() {
  Begin();
  const int64_t fault_ms = options_.fault_ms > 0 ? options_.fault_ms : INT64_MAX;
  const uint64_t fault_events = options_.fault_events > 0 ? options_.fault_events : UINT64_MAX;
  RunUntil([&] { return count_ >= fault_events; }, fault_ms);
  const int64_t calm_from_ms = events_.now_ms();
  if (checker_.violations() == 0) RunCalm();
  return Sum(calm_from_ms);
}

Report Simulation::Sum(int64_t calm_from_ms) {
  Report report;
  report.runs = 1;
  report.events = count_;
  report.simulated_ms = events_.now_ms();
  report.calm_ms = events_.now_ms() - calm_from_ms;
  report.jobs_done = checker_.jobs(core::JobState::kDone);
  report.jobs_failed = checker_.jobs(core::JobState::kFailed);
  report.jobs_cancelled = checker_.jobs(core::JobState::kCancelled);
  report.jobs_starved = starved_;
  report.shards_done = checker_.shards_done();
  report.lies_accepted = checker_.lies_accepted();
  report.bounds = checker_.bounds();
  for (size_t i = 0; i < kFaultKinds; ++i) {
    report.faults[i] = faults_.count(static_cast<Fault>(i));
  }
  report.hash = digest_.Finish();
  report.violations = checker_.violations();
  for (const std::string& message : checker_.messages()) {
    report.messages.push_back(fmt::format("of seed {} {}", options_.seed, message));
  }
  if (report.violations > 0) report.failed.push_back(CommandOf(options_));
  return report;
}

void Simulation::Begin() {
  events_.Add(0, EventKind::kSchedulerStart);
  for (uint32_t i = 0; i < agents_.size(); ++i) events_.Add(i * 7, EventKind::kAgentWake, i);
  for (uint32_t i = 0; i < people_.size(); ++i) {
    events_.Add(i * 13, EventKind::kUserWake, options_.devices + i);
  }
  events_.Add(kTroubleMs, EventKind::kTrouble);
}

template <typename Done>
bool Simulation::RunUntil(const Done& done, int64_t limit_ms) {
  while (checker_.violations() == 0) {
    if (done()) return true;
    if (events_.now_ms() >= limit_ms) return false;
    Step();
  }
  return false;
}

void Simulation::Step() {
  const Event event = events_.Take();
  ++count_;
  digest_.Add(static_cast<uint64_t>(event.time_ms) << 8 | static_cast<uint64_t>(event.kind));
  if (options_.progress && count_ % kProgressEvents == 0) {
    options_.progress(count_, event.time_ms);
  }
  switch (event.kind) {
    case EventKind::kArrival:
      Arrive(event.data);
      break;
    case EventKind::kAgentWake:
      agents_[event.actor].Wake();
      break;
    case EventKind::kUserWake:
      people_[event.actor - options_.devices].Wake();
      break;
    case EventKind::kBatch:
      scheduler_.OnBatch(event.data);
      break;
    case EventKind::kTick:
      scheduler_.OnTick(event.data);
      break;
    case EventKind::kCompared:
      scheduler_.OnCompared(event.data);
      break;
    case EventKind::kSchedulerStart:
      scheduler_.Start();
      break;
    case EventKind::kTrouble:
      ThrowDice();
      break;
  }
}

void Simulation::Arrive(uint64_t index) {
  Message message = network_.Take(index);
  if (auto* request = std::get_if<Request>(&message)) {
    scheduler_.Receive(std::move(*request));
    return;
  }
  Answer& answer = std::get<Answer>(message);
  const uint32_t node = answer.node;
  if (node < agents_.size()) {
    agents_[node].Receive(std::move(answer));
  } else {
    people_[node - options_.devices].Receive(answer);
  }
}

void Simulation::ThrowDice() {
  if (!faults_.on()) return;
  for (Agent& agent : agents_) agent.Trouble();
  scheduler_.Trouble();
  events_.Add(events_.now_ms() + kTroubleMs, EventKind::kTrouble);
}

void Simulation::RunCalm() {
  faults_.CalmDown();
  storage_->Mend();
  network_.HealAll();
  scheduler_.CalmDown();
  for (Agent& agent : agents_) agent.CalmDown();
  for (Person& person : people_) person.CalmDown();
  const int64_t begin_ms = events_.now_ms();
  const auto ended = [this] { return AllEnded(); };
  while (!RunUntil(ended, events_.now_ms() + kLookMs)) {
    if (checker_.violations() > 0) return;
    AdoptOrphans();
    GiveUpStarved(events_.now_ms() - begin_ms >= kPatienceMs);
  }
}

bool Simulation::AllEnded() const {
  return std::all_of(people_.begin(), people_.end(), [](const Person& p) { return p.done(); }) &&
         checker_.live_attempts() == 0 && checker_.AllGone(scheduler_.owners()) &&
         std::all_of(agents_.begin(), agents_.end(), [](const Agent& a) { return a.idle(); });
}

void Simulation::AdoptOrphans() {
  std::set<uint32_t> waiting;
  for (const Person& person : people_) {
    for (const uint32_t index : person.Waiting()) waiting.insert(index);
  }
  for (const uint32_t index : checker_.Unfinished()) {
    if (!waiting.contains(index)) people_[0].Adopt(index);
  }
}

void Simulation::GiveUpStarved(bool impatient) {
  for (Person& person : people_) {
    for (const uint32_t index : person.Waiting()) {
      const JobTruth& job = world_.jobs()[index];
      if (checker_.Starved(job)) {
        if (person.GiveUp(index)) ++starved_;
      } else if (impatient) {
        checker_.Fail(fmt::format("job {} does not end in the calm: {}", job.id.value,
                                  scheduler_.Why(job.id)));
      }
    }
  }
  if (impatient) checker_.Fail("the grid does not come to rest in the calm");
}

}  // namespace corpgrid::sim
