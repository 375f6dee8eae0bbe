#include "audit/reading.h"

#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "fmt/format.h"

namespace corpgrid::audit {

Reading::Reading(Checkpoint checkpoint, std::vector<Earlier> earlier)
    : checkpoint_(std::move(checkpoint)), earlier_(std::move(earlier)) {}

absl::Status Reading::Missing() const {
  return absl::DataLossError(fmt::format("entry {} is missing: the log's checkpoint has {} entries",
                                         tree_.size(), checkpoint_.size));
}

absl::Status Reading::Take(uint64_t index, std::string_view entry, std::string_view nodes) {
  if (index > tree_.size()) return Missing();
  if (index < tree_.size()) {
    return absl::DataLossError(fmt::format("entry {} comes a second time", index));
  }
  const std::vector<TreeHash> completed = tree_.Append(LeafHash(entry));
  constexpr size_t kHashBytes = sizeof TreeHash::bytes;
  for (size_t level = 0; level < completed.size(); ++level) {
    if (nodes.substr(0, kHashBytes) == completed[level].Raw()) {
      nodes.remove_prefix(kHashBytes);
      continue;
    }
    if (level == 0) {
      return absl::DataLossError(fmt::format(
          "entry {} was changed: its bytes are not the ones that went into the tree", index));
    }
    return absl::DataLossError(
        fmt::format("one of the entries {} to {} was changed, or they changed places",
                    index + 1 - (uint64_t{1} << level), index));
  }
  if (!nodes.empty()) {
    return absl::DataLossError(fmt::format("entry {} stands where another one was", index));
  }
  return CheckRoots();
}

absl::Status Reading::CheckRoots() const {
  for (const Earlier& earlier : earlier_) {
    if (tree_.size() != earlier.checkpoint.size || tree_.Root() == earlier.checkpoint.root)
      continue;
    return absl::DataLossError(
        fmt::format("the first {} entries are not those of the checkpoint {}: one of them was "
                    "changed, and the tree with it",
                    tree_.size(), earlier.name));
  }
  if (tree_.size() == checkpoint_.size && tree_.Root() != checkpoint_.root) {
    return absl::DataLossError(
        fmt::format("the {} entries are not those that the log's checkpoint was signed for: one of "
                    "them was changed, and the tree with it",
                    checkpoint_.size));
  }
  return absl::OkStatus();
}

absl::Status Reading::Finish() const {
  if (!done()) return Missing();
  return CheckRoots();
}

}  // namespace corpgrid::audit
