#pragma once

#include <string>
#include <string_view>

#include "gateway/gbnf.h"

namespace corpgrid::gateway {

// A rule for any text up to the first `marker`, with that, and `rest` after it; where it `may_end`
// also for any text without the marker.
std::string TextUntil(std::string_view marker, const std::string& rest, bool may_end,
                      Gbnf* grammar);

// How much of the end of `text` may be the beginning of `marker`, which is not in it.
size_t BeginningOf(std::string_view marker, std::string_view text);

}  // namespace corpgrid::gateway
