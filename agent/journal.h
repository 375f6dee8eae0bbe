#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/finished.h"
#include "base/ids.h"

namespace corpgrid::agent {

// What is finished and not judged yet, in a folder, so that an agent that was killed hands it in
// instead of computing it again: for each attempt a file, and beside it one for each output that is
// large. Nothing is synced: after a crash of the machine itself a record may be missing or damaged,
// which costs the work of its shard and no more. Any thread; an attempt's calls one after the
// other.
class Journal {
 public:
  // Of a shard that took less, computing it again costs less than the record: keeping all of them
  // took a fifth off the rate of the shortest.
  static constexpr int64_t kWorthKeepingUs = 100'000;

  // Makes the folder when there is none. Errors: FailedPrecondition.
  static absl::StatusOr<std::unique_ptr<Journal>> Open(const std::string& folder);

  // The paths of the attempt's large outputs begin with this.
  std::string OutputPath(AttemptId id) const;

  // Makes a record of an attempt that took long enough. Errors: this device's own.
  absl::Status Keep(std::string_view grid_id, const FinishedAttempt& finished) const;

  // The attempt is judged, or wanted no longer.
  void Forget(AttemptId id) const;

  // What earlier runs of the agent left of this grid, with its outputs. Deletes whatever else is in
  // the folder. Once, before the rest.
  std::vector<FinishedAttempt> TakeLeft(std::string_view grid_id) const;

 private:
  explicit Journal(std::string folder) : folder_(std::move(folder)) {}

  std::string RecordPath(AttemptId id) const;
  absl::StatusOr<FinishedAttempt> Read(std::string_view grid_id, AttemptId id) const;

  const std::string folder_;
};

}  // namespace corpgrid::agent
