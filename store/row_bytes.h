#pragma once

#include <concepts>
#include <string_view>
#include <type_traits>

#include "crypto/encoding.h"
#include "store/row_values.h"
#include "store/sql_text.h"

namespace corpgrid::store {

inline void AddValue(crypto::Encoder* to, std::integral auto value) {
  to->AddSigned(static_cast<int64_t>(value));
}
inline void AddValue(crypto::Encoder* to, std::string_view text) { to->Add(AsSqlText(text)); }
inline void AddValue(crypto::Encoder* to, Blob blob) { to->Add(blob.bytes); }

// The row's columns as fields, the same whichever store it was read from; a job's are followed by
// those of its progress.
template <typename Row>
void AddRow(crypto::Encoder* to, const Row& row) {
  WithValues(row, [&](const auto&... values) { (AddValue(to, values), ...); });
  if constexpr (std::is_same_v<Row, core::JobRow>) AddRow(to, ProgressOf(row));
}

}  // namespace corpgrid::store
