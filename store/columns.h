#pragma once

#include <cstdint>
#include <string_view>

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

}  // namespace corpgrid::store
