#include "inference/text_stream.h"

#include <algorithm>

#include "base/utf8.h"

namespace corpgrid::inference {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

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
