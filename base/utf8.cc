#include "base/utf8.h"

#include <cstddef>
#include <cstdint>

namespace corpgrid {

int CharacterLength(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t first = byte(0);
  if (first < 0x80) return 1;
  const int length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4) return 0;
  for (size_t i = 1; i < static_cast<size_t>(length); ++i) {
    if (i >= text.size()) return -1;
    uint8_t low = 0x80, high = 0xBF;
    if (i == 1 && first == 0xE0) low = 0xA0;
    if (i == 1 && first == 0xED) high = 0x9F;
    if (i == 1 && first == 0xF0) low = 0x90;
    if (i == 1 && first == 0xF4) high = 0x8F;
    if (byte(i) < low || byte(i) > high) return 0;
  }
  return length;
}

std::optional<std::string_view> Unfinished(std::string_view text) {
  while (!text.empty()) {
    const int length = CharacterLength(text);
    if (length == 0) return std::nullopt;
    if (length < 0) break;
    text.remove_prefix(static_cast<size_t>(length));
  }
  return text;
}

}  // namespace corpgrid
