#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace corpgrid::job {

// A part of a text with placeholders.
struct Piece {
  enum class Kind { kText, kShard, kShards, kInput, kUnknown, kLoneBrace };
  Kind kind = Kind::kText;
  std::string_view text;  // as written, but "{" for "{{" and "}" for "}}"
};

// Cuts `text` at its placeholders. The pieces point into it.
std::vector<Piece> CutPlaceholders(std::string_view text);

// Where `text` stops being well-formed UTF-8 (RFC 3629); its size when it is.
size_t FirstBadUtf8(std::string_view text);
inline bool IsUtf8(std::string_view text) { return FirstBadUtf8(text) == text.size(); }

// Whether `text` has a character below space, or DEL: what would act on a terminal.
bool HasControls(std::string_view text);

// `text` on one line: control characters and broken UTF-8 escaped.
std::string Printable(std::string_view text);

// `text` in quotes for a message: shortened and printable.
std::string Quote(std::string_view text);

}  // namespace corpgrid::job
