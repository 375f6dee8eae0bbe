#include "inference/text_stream.h"

#include <algorithm>
#include <cstdint>

namespace corpgrid::inference {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// The length of the character at the start of `text`, by RFC 3629; 0 when there is none, -1 when
// more bytes may make it one.
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

// How many bytes at the end of `text` are the start of `stop`.
size_t Overlap(std::string_view text, std::string_view stop) {
  for (size_t length = std::min(text.size(), stop.size() - 1); length > 0; --length) {
    if (text.ends_with(stop.substr(0, length))) return length;
  }
  return 0;
}

}  // namespace

std::string TextStream::Push(std::string_view bytes) {
  if (stopped_) return "";
  held_ += bytes;
  size_t end = std::string::npos, kept_back = 0;
  for (const std::string& stop : stops_) {
    if (stop.empty()) continue;
    end = std::min(end, held_.find(stop));
    kept_back = std::max(kept_back, Overlap(held_, stop));
  }
  if (end == std::string::npos) return Show(held_.size() - kept_back, false);
  stopped_ = true;
  std::string shown = Show(end, true);
  held_.clear();
  return shown;
}

std::string TextStream::Finish() { return stopped_ ? "" : Show(held_.size(), true); }

std::string TextStream::Show(size_t bytes, bool last) {
  std::string shown;
  std::string_view rest = std::string_view(held_).substr(0, bytes);
  while (!rest.empty()) {
    const int length = CharacterLength(rest);
    if (length < 0 && !last) break;
    const size_t used = length > 0 ? static_cast<size_t>(length) : length < 0 ? rest.size() : 1;
    shown += length > 0 ? rest.substr(0, used) : kReplacement;
    rest.remove_prefix(used);
  }
  held_.erase(0, bytes - rest.size());
  return shown;
}

}  // namespace corpgrid::inference
