#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace corpgrid::crypto {

// Two lower-case digits a byte.
std::string ToHex(std::string_view raw);

// Reads exactly `out.size()` bytes; false when `hex` has another length or other characters.
bool ParseHex(std::string_view hex, std::span<uint8_t> out);

// The beginning of `text`, short and without control characters: what a message may quote.
std::string Excerpt(std::string_view text);

}  // namespace corpgrid::crypto
