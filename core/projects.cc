#include "core/projects.h"

#include <algorithm>
#include <limits>

#include "base/text.h"
#include "fmt/format.h"

namespace corpgrid::core {
namespace {

// 128 bits hold the product of any amount and 2^48 exactly.
__extension__ using Wide = unsigned __int128;
constexpr int kShareBits = 48;

uint64_t Share(uint64_t used, uint64_t total, uint32_t weight) {
  constexpr uint64_t kMost = std::numeric_limits<uint64_t>::max();
  if (used == 0) return 0;
  if (total == 0) return kMost;
  const Wide share = (Wide{used} << kShareBits) / (Wide{total} * weight);
  return share > kMost ? kMost : static_cast<uint64_t>(share);
}

uint64_t RoomIn(uint64_t limit, uint64_t used, uint64_t one) {
  if (one == 0 || limit == ProjectRow::kNoLimit) return std::numeric_limits<uint64_t>::max();
  return used >= limit ? 0 : (limit - used) / one;
}

}  // namespace

Amounts Amounts::Of(const Requirements& want) {
  constexpr uint32_t kCpu = 1u << static_cast<unsigned>(job::Backend::kCpu);
  const bool gpu = (want.backends & kCpu) == 0 || want.vram_bytes > 0;
  return {
      .cpus = want.cpus, .memory_bytes = want.memory_bytes, .gpus = gpu ? 1u : 0, .attempts = 1};
}

Amounts Amounts::Of(const DeviceRow& has) {
  constexpr uint32_t kCpu = 1u << static_cast<unsigned>(job::Backend::kCpu);
  const bool gpu = (has.backends & ~kCpu) != 0;
  return {.cpus = has.cpus, .memory_bytes = has.memory_bytes, .gpus = gpu ? 1u : 0, .attempts = 0};
}

Amounts& Amounts::operator+=(const Amounts& other) {
  cpus += other.cpus;
  memory_bytes += other.memory_bytes;
  gpus += other.gpus;
  attempts += other.attempts;
  return *this;
}

Amounts& Amounts::operator-=(const Amounts& other) {
  cpus -= other.cpus;
  memory_bytes -= other.memory_bytes;
  gpus -= other.gpus;
  attempts -= other.attempts;
  return *this;
}

uint64_t Room(const ProjectRow& project, const Amounts& used, const Amounts& one) {
  return std::min({RoomIn(project.max_cpus, used.cpus, one.cpus),
                   RoomIn(project.max_memory_bytes, used.memory_bytes, one.memory_bytes),
                   RoomIn(project.max_gpus, used.gpus, one.gpus),
                   RoomIn(project.max_running, used.attempts, one.attempts)});
}

std::string Shortage(const ProjectRow& project, const Amounts& used, const Amounts& one) {
  if (RoomIn(project.max_cpus, used.cpus, one.cpus) == 0) {
    return fmt::format("it uses {} of {} CPUs, and a shard asks for {}", used.cpus,
                       project.max_cpus, one.cpus);
  }
  if (RoomIn(project.max_memory_bytes, used.memory_bytes, one.memory_bytes) == 0) {
    return fmt::format("it uses {} of {} of memory, and a shard asks for {}",
                       FormatBytes(used.memory_bytes), FormatBytes(project.max_memory_bytes),
                       FormatBytes(one.memory_bytes));
  }
  if (RoomIn(project.max_gpus, used.gpus, one.gpus) == 0) {
    return fmt::format("it uses {} of {} GPUs, and a shard asks for {}", used.gpus,
                       project.max_gpus, one.gpus);
  }
  if (RoomIn(project.max_running, used.attempts, one.attempts) == 0) {
    return fmt::format("it runs {} of {} shards", used.attempts, project.max_running);
  }
  return "";
}

uint64_t WeightedShare(const Amounts& used, const Amounts& total, uint32_t weight) {
  return std::max({Share(used.cpus, total.cpus, weight),
                   Share(used.memory_bytes, total.memory_bytes, weight),
                   Share(used.gpus, total.gpus, weight)});
}

}  // namespace corpgrid::core
