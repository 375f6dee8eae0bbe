#pragma once

#include <cstdint>

namespace corpgrid {

inline constexpr char kVersion[] = "0.1.0";

// The version of what agents, schedulers and command lines say to each other, job specs included. A
// program speaks this one and the one before (docs/decisions/0014-version-skew.md). It grows with a
// release that says something which the one before would not understand.
//   1: what programs speak that do not say what they speak
//   2: job specs of version 4
inline constexpr uint32_t kProtocol = 2;
inline constexpr uint32_t kOldestProtocol = kProtocol - 1;

}  // namespace corpgrid
