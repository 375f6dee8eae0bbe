#include <benchmark/benchmark.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/testing/temp_folder.h"
#include "fmt/format.h"
#include "objects/object_store.h"

// CPU and time of an object on its way: staged by several threads at once, then kept in batches,
// as the scheduler does it.
namespace corpgrid::objects {
namespace {

constexpr int kBatch = 64;

struct Shared {
  corpgrid::testing::TempFolder folder;
  std::unique_ptr<ObjectStore> store = *OpenLocalStore(folder.path());
  std::atomic<int64_t> next = 1;
};

std::unique_ptr<Shared> shared;

void Start(const benchmark::State&) { shared = std::make_unique<Shared>(); }
void Stop(const benchmark::State&) { shared.reset(); }

std::string Unique(int64_t n, size_t size) {
  std::string data = fmt::format("{:020}", n);
  data.resize(size, 'x');
  return data;
}

void StageSmall(benchmark::State& state) {
  const auto objects_a_call = static_cast<size_t>(state.range(0));
  std::vector<std::string> scopes(objects_a_call);
  std::vector<std::string> contents(objects_a_call);
  for (auto _ : state) {
    std::vector<SmallObject> objects;
    for (size_t i = 0; i < objects_a_call; ++i) {
      const int64_t n = shared->next++;
      scopes[i] = fmt::format("attempt-{}", n);
      contents[i] = Unique(n, 1024);
      objects.push_back({scopes[i], "out", contents[i]});
    }
    if (!shared->store->StageSmall(objects).ok()) state.SkipWithError("StageSmall failed");
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(objects_a_call));
}
BENCHMARK(StageSmall)
    ->Arg(1)
    ->Arg(8)
    ->Arg(64)
    ->ThreadRange(1, 8)
    ->Setup(Start)
    ->Teardown(Stop)
    ->MeasureProcessCPUTime()
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

void StageAndEnd(benchmark::State& state, bool keep) {
  for (auto _ : state) {
    state.PauseTiming();
    std::vector<std::string> scopes;
    std::vector<std::string> contents;
    std::vector<std::pair<std::string, std::string>> kept;
    std::vector<SmallObject> objects;
    for (int i = 0; i < kBatch; ++i) {
      const int64_t n = shared->next++;
      scopes.push_back(fmt::format("attempt-{}", n));
      contents.push_back(Unique(n, 1024));
      kept.emplace_back(scopes.back(), "job-1");
    }
    objects.reserve(kBatch);
    for (int i = 0; i < kBatch; ++i) objects.push_back({scopes[i], "out", contents[i]});
    if (!shared->store->StageSmall(objects).ok()) state.SkipWithError("StageSmall failed");
    state.ResumeTiming();
    const absl::Status status = keep ? shared->store->Keep(kept) : shared->store->Drop(scopes);
    if (!status.ok()) state.SkipWithError("ending the scopes failed");
  }
  state.SetItemsProcessed(state.iterations() * kBatch);
}
void Keep64(benchmark::State& state) { StageAndEnd(state, true); }
void Drop64(benchmark::State& state) { StageAndEnd(state, false); }
BENCHMARK(Keep64)->Setup(Start)->Teardown(Stop)->Unit(benchmark::kMicrosecond);
BENCHMARK(Drop64)->Setup(Start)->Teardown(Stop)->Unit(benchmark::kMicrosecond);

void Upload64MiB(benchmark::State& state) {
  const std::string piece(1 << 18, 'x');
  for (auto _ : state) {
    const std::string name = fmt::format("{}", shared->next++);
    auto writer = shared->store->OpenStaged("u", name, 65 << 20);
    if (!(*writer)->Append(name).ok()) state.SkipWithError("Append failed");
    for (int64_t i = 0; i < 256; ++i) {
      std::string data = piece;
      data.replace(0, 8, reinterpret_cast<const char*>(&i), 8);
      if (!(*writer)->Append(data).ok()) state.SkipWithError("Append failed");
    }
    if (!(*writer)->Finish().ok()) state.SkipWithError("Finish failed");
    state.PauseTiming();
    writer->reset();
    const std::vector<std::string> scopes = {"u"};
    if (!shared->store->Drop(scopes).ok()) state.SkipWithError("Drop failed");
    state.ResumeTiming();
  }
  state.SetBytesProcessed(state.iterations() * (64 << 20));
}
BENCHMARK(Upload64MiB)->Setup(Start)->Teardown(Stop)->Unit(benchmark::kMillisecond)->UseRealTime();

void Read64MiB(benchmark::State& state) {
  auto writer = shared->store->OpenStaged("u", "x", 64 << 20);
  for (int64_t i = 0; i < 64; ++i) {
    if (!(*writer)->Append(Unique(i, 1 << 20)).ok()) state.SkipWithError("Append failed");
  }
  const crypto::Hash hash = (*writer)->Finish()->hash;
  for (auto _ : state) {
    auto reader = shared->store->Open(hash, 0);
    for (;;) {
      const absl::StatusOr<std::string> part = (*reader)->Next();
      if (!part.ok()) state.SkipWithError("Next failed");
      if (!part.ok() || part->empty()) break;
    }
  }
  state.SetBytesProcessed(state.iterations() * (64 << 20));
}
BENCHMARK(Read64MiB)->Setup(Start)->Teardown(Stop)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace corpgrid::objects

BENCHMARK_MAIN();
