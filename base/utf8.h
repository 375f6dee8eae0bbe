#pragma once

#include <optional>
#include <string_view>

namespace corpgrid {

// The length of the character at the start of `text`, which is not empty, by RFC 3629; 0 when there
// is none, -1 when more bytes may make it one.
int CharacterLength(std::string_view text);

// The bytes at the end of `text` that more may make a character; nothing at all when it has some
// that no others can mend.
std::optional<std::string_view> Unfinished(std::string_view text);

}  // namespace corpgrid
