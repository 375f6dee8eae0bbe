#include "sim/faults.h"

namespace corpgrid::sim {
namespace {

struct Kind {
  Fault fault;
  std::string_view text;
  uint32_t rate;  // in a million, at each occasion; the occasions differ
};

// The occasions: a message sent; an agent's second; an attempt run; a result handed in; a commit; a
// scheduler's second; a person's act.
constexpr std::array<Kind, kFaultKinds> kKinds = {{
    {Fault::kMessageDropped, "message dropped", 5'000},
    {Fault::kMessageDuplicated, "message duplicated", 5'000},
    {Fault::kMessageReordered, "message reordered", 20'000},
    {Fault::kMessageDelayed, "message delayed", 2'000},
    {Fault::kPartitionToScheduler, "one-way partition to the scheduler", 150},
    {Fault::kPartitionFromScheduler, "one-way partition from the scheduler", 150},
    {Fault::kAgentCrashed, "agent crashed", 300},
    {Fault::kDeviceSlept, "device slept", 200},
    {Fault::kOnBattery, "device on battery", 200},
    {Fault::kHoursEnded, "owner's hours ended", 100},
    {Fault::kOtherVersion, "agent of another version", 100},
    {Fault::kMixedVersions, "mixed versions", 300},
    {Fault::kDeviceFault, "device fault", 3'000},
    {Fault::kBundleCorrupted, "bundle corrupted", 2'000},
    {Fault::kAttemptHung, "attempt hung", 400},
    {Fault::kAttemptSlow, "attempt slow", 10'000},
    {Fault::kStaleDeviceInfo, "device with other hardware", 100},
    {Fault::kWrongResult, "wrong result", 150'000},
    {Fault::kColludingResult, "colluding result", 250'000},
    {Fault::kLateResult, "late result", 3'000},
    {Fault::kDuplicateResult, "duplicate result", 10'000},
    {Fault::kStolenResult, "stolen result", 20'000},
    {Fault::kForgedSignature, "forged signature", 5'000},
    {Fault::kBytesMissing, "outputs missing", 5'000},
    {Fault::kStaleLease, "stale lease", 10'000},
    {Fault::kUnknownAttempt, "unknown attempt", 2'000},
    {Fault::kFalseDeath, "death made up", 300},
    {Fault::kStaleCheckpoint, "stale checkpoint", 10'000},
    {Fault::kAnsweredTwice, "comparison answered twice", 20'000},
    {Fault::kStranger, "stranger at the door", 100},
    {Fault::kCrashBeforeCommit, "scheduler crash before a commit", 300},
    {Fault::kCrashInsideCommit, "scheduler crash inside a commit", 300},
    {Fault::kCrashAfterCommit, "scheduler crash after a commit", 300},
    {Fault::kSchedulerStalled, "scheduler stalled", 500},
    {Fault::kClockForward, "clock jumped forward", 300},
    {Fault::kClockBack, "clock jumped back", 300},
    {Fault::kWallClockJumped, "wall clock jumped", 1'000},
    {Fault::kMachineRebooted, "machine rebooted", 300'000},
    {Fault::kDiskFull, "disk full", 200},
    {Fault::kDiskError, "disk write error", 200},
    {Fault::kSyncError, "disk sync error", 200},
    {Fault::kReadError, "disk read error", 300'000},
    {Fault::kTornWrite, "torn write", 500'000},
    {Fault::kLostWrite, "lost write", 500'000},
    {Fault::kCommitOutcomeUnknown, "commit of unknown outcome", 200},
    {Fault::kSubmitRepeated, "submission repeated", 50'000},
    {Fault::kOldKeyReused, "old submission repeated", 10'000},
    {Fault::kJobCancelled, "job cancelled", 2'000},
    {Fault::kDeviceDrained, "device drained", 6'000},
    {Fault::kJobRemoved, "job removed", 20'000},
    {Fault::kProjectChanged, "project changed", 100'000},
    {Fault::kProjectRemoved, "project removed", 20'000},
    {Fault::kTrustEnded, "device trusted no more", 2'000},
}};

constexpr bool InOrder() {
  for (size_t i = 0; i < kFaultKinds; ++i) {
    if (kKinds[i].fault != static_cast<Fault>(i)) return false;
  }
  return true;
}
static_assert(InOrder(), "a fault without its line, or out of place");

}  // namespace

std::string_view ToText(Fault fault) { return kKinds[static_cast<size_t>(fault)].text; }

Faults::Faults(uint64_t seed, bool enabled) : random_(seed), on_(enabled) {
  for (size_t i = 0; i < kFaultKinds; ++i) {
    const uint64_t weather = random_.Below(8);  // 2 of 8 off, 4 of 8 as usual, 1 mild, 1 wild
    const uint32_t rate = kKinds[i].rate;
    if (weather < 2) continue;
    rates_[i] = weather == 2 ? rate / 4 + 1 : weather == 3 ? rate * 3 : rate;
  }
}

}  // namespace corpgrid::sim
