#include "job/text.h"

#include <algorithm>

#include "base/utf8.h"
#include "fmt/format.h"

namespace corpgrid::job {
namespace {

bool IsControl(unsigned char c) { return c < 0x20 || c == 0x7f; }

// The length of the UTF-8 character that `text` begins with; 0 when it begins with none.
size_t CharacterSize(std::string_view text) {
  return static_cast<size_t>(std::max(CharacterLength(text), 0));
}

Piece::Kind KindOf(std::string_view placeholder) {
  if (placeholder == "{shard}") return Piece::Kind::kShard;
  if (placeholder == "{shards}") return Piece::Kind::kShards;
  if (placeholder == "{input}") return Piece::Kind::kInput;
  return Piece::Kind::kUnknown;
}

}  // namespace

std::vector<Piece> CutPlaceholders(std::string_view text) {
  std::vector<Piece> pieces;
  while (!text.empty()) {
    const size_t brace = std::min(text.find_first_of("{}"), text.size());
    if (brace > 0) pieces.push_back({Piece::Kind::kText, text.substr(0, brace)});
    text.remove_prefix(brace);
    if (text.empty()) break;
    size_t used = 1;
    if (text.size() > 1 && text[1] == text[0]) {
      pieces.push_back({Piece::Kind::kText, text.substr(0, 1)});
      used = 2;
    } else if (const size_t end = text.find_first_of("{}", 1);
               text[0] == '{' && end != std::string_view::npos && text[end] == '}') {
      used = end + 1;
      pieces.push_back({KindOf(text.substr(0, used)), text.substr(0, used)});
    } else {
      pieces.push_back({Piece::Kind::kLoneBrace, text.substr(0, 1)});
    }
    text.remove_prefix(used);
  }
  return pieces;
}

size_t FirstBadUtf8(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    const size_t size = CharacterSize(text.substr(at));
    if (size == 0) break;
    at += size;
  }
  return at;
}

bool HasControls(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](unsigned char c) { return IsControl(c); });
}

std::string Printable(std::string_view text) {
  std::string printable;
  while (!text.empty()) {
    const size_t size = CharacterSize(text);
    if (text[0] == '\n') {
      printable += "\\n";
    } else if (size == 0 || IsControl(static_cast<unsigned char>(text[0]))) {
      printable += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[0]));
    } else {
      printable += text.substr(0, size);
    }
    text.remove_prefix(std::max<size_t>(size, 1));
  }
  return printable;
}

std::string Quote(std::string_view text) {
  constexpr size_t kLongest = 60;
  size_t kept = 0;
  while (kept < text.size() && kept < kLongest) {
    kept += std::max<size_t>(CharacterSize(text.substr(kept)), 1);
  }
  return fmt::format("\"{}{}\"", Printable(text.substr(0, kept)), kept < text.size() ? "…" : "");
}

}  // namespace corpgrid::job
