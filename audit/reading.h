#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "audit/checkpoint.h"
#include "audit/tree.h"

namespace corpgrid::audit {

// A checkpoint of a log that somebody has seen before, and what messages call it.
struct Earlier {
  Checkpoint checkpoint;
  std::string name;  // "that was kept"
};

// Reads a whole log from its first entry on and finds whether it is the one that its checkpoint,
// and earlier ones that the reader knows, were signed for. The nodes that come with the entries
// are not believed; they tell which entry it is. One thread.
class Reading {
 public:
  // No `earlier` one has more entries than `checkpoint`.
  Reading(Checkpoint checkpoint, std::vector<Earlier> earlier);

  // How many entries were taken: the next one's index.
  uint64_t size() const { return tree_.size(); }
  bool done() const { return tree_.size() >= checkpoint_.size; }

  // The entry that comes next, with the nodes that are stored with it. Errors: DataLoss that says
  // which entry, or which checkpoint, contradicts.
  absl::Status Take(uint64_t index, std::string_view entry, std::string_view nodes);

  // After the last entry there is. Errors: DataLoss.
  absl::Status Finish() const;

 private:
  absl::Status CheckRoots() const;
  absl::Status Missing() const;

  const Checkpoint checkpoint_;
  const std::vector<Earlier> earlier_;
  Frontier tree_;
};

}  // namespace corpgrid::audit
