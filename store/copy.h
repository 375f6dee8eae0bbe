#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace corpgrid::store {

struct CopiedTable {
  std::string name;
  uint64_t rows = 0;
};

struct CopyReport {
  std::string grid_id;
  std::vector<CopiedTable> tables;
  std::string digest;  // of every row of all tables, the same in both stores
};

// Copies a whole grid's state from one store to another, each as store::Open takes it, then reads
// both and compares. `progress` hears how many of all rows are read; each is read twice. Nobody
// else may have either store open. Until the copy has been verified, the target can not be opened.
// Errors: NotFound when there is no file `from`, FailedPrecondition when `to` is not empty,
// DataLoss when the copy differs, those of store::Open and of the databases.
absl::StatusOr<CopyReport> Copy(const std::string& from, const std::string& to,
                                const std::function<void(uint64_t done, uint64_t total)>& progress);

}  // namespace corpgrid::store
