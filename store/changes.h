#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "core/rows.h"

// A batch of rows as one value, by which a standby follows its leader.
namespace corpgrid::store {

// Without the entries of the audit log, which nobody keeps in memory. Texts are what a store gives
// back (store/sql_text.h).
std::string EncodeChanges(const core::WriteBatch& batch);

// The inverse. Errors: InvalidArgument for another version's bytes, DataLoss for damaged ones.
absl::StatusOr<core::WriteBatch> DecodeChanges(std::string_view bytes);

}  // namespace corpgrid::store
