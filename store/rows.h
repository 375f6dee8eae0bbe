#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "core/rows.h"
#include "store/columns.h"

// How the rows of core/rows.h are read from their columns. The order of a table's columns
// (store/tables.h), of its reader here and of its values (store/row_values.h) is the same.
namespace corpgrid::store {

// Takes one row's columns from the left. What cannot be a value of its type is noted, not returned.
class ColumnReader {
 public:
  // From column `first` on. `columns` must outlive the reader.
  explicit ColumnReader(const Columns& columns, int first = 0)
      : columns_(columns), column_(first) {}

  int64_t Signed() { return columns_.Int(column_++); }
  uint64_t Unsigned() { return static_cast<uint64_t>(Signed()); }
  uint32_t Small();
  std::string Text() { return std::string(columns_.Bytes(column_++)); }
  crypto::Hash Hash();
  template <typename Enum>
  Enum OneOf(Enum first, Enum last) {
    const int64_t value = Signed();
    if (value >= static_cast<int64_t>(first) && value <= static_cast<int64_t>(last)) {
      return static_cast<Enum>(value);
    }
    damaged_ = true;
    return first;
  }
  std::vector<job::Output> Outputs();
  std::vector<std::string> Texts();  // as EncodeTexts wrote them
  std::vector<DeviceId> Devices();

  // DataLoss when a value could not be what was written.
  absl::Status status() const;

 private:
  const Columns& columns_;
  int column_;
  bool damaged_ = false;
};

absl::Status Read(const Columns& columns, core::MetaRow* row);
absl::Status Read(const Columns& columns, core::JoinTokenRow* row);
absl::Status Read(const Columns& columns, core::DeviceRow* row);
absl::Status Read(const Columns& columns, core::ReputationRow* row);
absl::Status Read(const Columns& columns, core::ProjectRow* row);
absl::Status Read(const Columns& columns, core::ModelRow* row);
absl::Status Read(const Columns& columns, core::JobRow* row);  // then the columns of its progress
absl::Status Read(const Columns& columns, core::JobProgressRow* row, int first_column = 0);
absl::Status Read(const Columns& columns,
                  core::FinishedJob* row);  // key, id, state, shards and end
absl::Status Read(const Columns& columns, core::ShardRow* row);
absl::Status Read(const Columns& columns, core::AttemptRow* row);
absl::Status Read(const Columns& columns, core::CheckpointRow* row);
absl::Status Read(const Columns& columns, core::AuditRow* row);
absl::Status Read(const Columns& columns, core::ResultRow* row, int first_column = 0);

}  // namespace corpgrid::store
