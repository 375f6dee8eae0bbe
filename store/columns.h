#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "absl/status/status.h"

namespace corpgrid::store {

// A row of a database's answer, whichever database it is. Columns count from 0; what Bytes gives
// is valid until the next row.
class Columns {
 public:
  virtual ~Columns() = default;
  virtual bool IsNull(int column) const = 0;
  virtual int64_t Int(int column) const = 0;
  virtual std::string_view Bytes(int column) const = 0;  // of bytes or of text
};

// Hears of each row of an answer; an error ends the reading and is what the caller gets.
using OnRow = std::function<absl::Status(const Columns&)>;

}  // namespace corpgrid::store
