#pragma once

#include <cstddef>
#include <string>

namespace corpgrid {

inline constexpr size_t kLastWordsBytes = 600;

// The end of what a program said, for a message about its own: the last whole lines, of at most
// kLastWordsBytes, in one.
std::string LastWords(std::string said);

}  // namespace corpgrid
