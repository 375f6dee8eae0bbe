#pragma once

#include <string>
#include <string_view>

namespace corpgrid::store {

// Whether PostgreSQL takes it as text: UTF-8 without NULs.
bool IsSqlText(std::string_view text);

// With U+FFFD for each byte that PostgreSQL would refuse.
std::string AsSqlText(std::string_view text);

}  // namespace corpgrid::store
