#pragma once

namespace corpgrid {

inline constexpr char kVersion[] = "0.1.0";

}  // namespace corpgrid
