#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "sim/random.h"

namespace corpgrid::sim {

// Everything that goes wrong in a simulated grid. The comment says what it does when it strikes.
enum class Fault : uint8_t {
  // The network.
  kMessageDropped,
  kMessageDuplicated,
  kMessageReordered,        // overtaken by later ones
  kMessageDelayed,          // for up to minutes
  kPartitionToScheduler,    // what one device sends is lost for a while; what it gets is not
  kPartitionFromScheduler,  // the other direction
  // Devices.
  kAgentCrashed,
  kDeviceSlept,  // and goes on where it was when it wakes
  kOnBattery,
  kHoursEnded,       // its owner lends it no longer, for a while
  kOtherVersion,     // the agent is replaced by a version that knows fewer or more fields
  kMixedVersions,    // the agent is replaced by one of the protocol version before, or after
  kDeviceFault,      // the device gives an attempt up
  kBundleCorrupted,  // the device blames itself, or the job, for a bundle that it got broken
  kAttemptHung,      // the device is heard but never answers
  kAttemptSlow,
  kStaleDeviceInfo,  // a device registers again with other hardware
  // Results.
  kWrongResult,      // a lie of one device
  kColludingResult,  // the same lie from all owners of a group
  kLateResult,       // handed in after its lease ran out
  kDuplicateResult,
  kStolenResult,  // of another device's attempt, or another's outputs under one's own
  kForgedSignature,
  kBytesMissing,  // outputs that were never uploaded
  kStaleLease,    // an old attempt or token is used again
  kUnknownAttempt,
  kFalseDeath,       // a device says that it died of what it runs, or of another's attempt
  kStaleCheckpoint,  // of an attempt that is over or another's
  kAnsweredTwice,    // a question which results are close
  kStranger,         // a device without a join token asks to be let in
  // The scheduler.
  kCrashBeforeCommit,
  kCrashInsideCommit,
  kCrashAfterCommit,  // what was committed is never said
  kSchedulerStalled,  // stopped for a while, then goes on
  kClockForward,
  kClockBack,
  kWallClockJumped,
  kMachineRebooted,  // with a crash: the monotonic clock begins again
  // Its disk.
  kDiskFull,
  kDiskError,  // a write fails
  kSyncError,  // what was written may or may not be there after a crash
  kReadError,
  kTornWrite,             // the power fails and sectors are half written
  kLostWrite,             // the power fails and what was not synced is lost
  kCommitOutcomeUnknown,  // the commit landed, the answer did not
  // People.
  kSubmitRepeated,
  kOldKeyReused,  // of a job that ended long ago
  kJobCancelled,
  kDeviceDrained,   // or in use again
  kJobRemoved,      // whether it has ended or not
  kProjectChanged,  // its weight or a quota, whatever it uses
  kProjectRemoved,
  kTrustEnded,  // for a while, of a device that runs audits
  kCount,
};

inline constexpr size_t kFaultKinds = static_cast<size_t>(Fault::kCount);

// "message dropped", as it is shown to people.
std::string_view ToText(Fault fault);

// How often each fault strikes where it could, in millionths, and how often it did. A seed turns
// most kinds on, each at a rate of its own, so that every run has another mixture: faults that
// always come together hide what one of them alone would show.
class Faults {
 public:
  Faults(uint64_t seed, bool enabled);

  // Whether `fault` strikes now; counted when it does.
  bool Strike(Fault fault) {
    if (!on_ || !random_.Chance(rates_[Index(fault)])) return false;
    Count(fault);
    return true;
  }
  void Count(Fault fault) { ++counts_[Index(fault)]; }
  // The rate is 0 where the seed has turned the kind off.
  bool Enabled(Fault fault) const { return on_ && rates_[Index(fault)] > 0; }
  void Disable(Fault fault) { rates_[Index(fault)] = 0; }

  // From now on nothing strikes.
  void CalmDown() { on_ = false; }
  bool on() const { return on_; }

  uint64_t count(Fault fault) const { return counts_[Index(fault)]; }
  // The numbers that belong to a fault that strikes: how long, how far.
  Random& random() { return random_; }

 private:
  static size_t Index(Fault fault) { return static_cast<size_t>(fault); }

  Random random_;
  bool on_;
  std::array<uint32_t, kFaultKinds> rates_{};
  std::array<uint64_t, kFaultKinds> counts_{};
};

}  // namespace corpgrid::sim
