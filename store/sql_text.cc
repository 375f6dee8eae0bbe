#include "store/sql_text.h"

#include <algorithm>

#include "job/text.h"

namespace corpgrid::store {

bool IsSqlText(std::string_view text) {
  return text.find('\0') == std::string_view::npos && job::IsUtf8(text);
}

std::string AsSqlText(std::string_view text) {
  constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD
  std::string repaired;
  while (!text.empty()) {
    const size_t good = std::min(job::FirstBadUtf8(text), text.find('\0'));
    repaired += text.substr(0, good);
    if (good >= text.size()) break;
    repaired += kReplacement;
    text.remove_prefix(good + 1);
  }
  return repaired;
}

}  // namespace corpgrid::store
