#pragma once

#include <string_view>

namespace corpgrid {

// Bytes as opposed to text, where a database tells them apart.
struct Blob {
  std::string_view bytes;
};

}  // namespace corpgrid
