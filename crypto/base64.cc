#include "crypto/base64.h"

#include "crypto/hex.h"
#include "fmt/format.h"
#include "sodium.h"

namespace corpgrid::crypto {

std::string ToBase64(std::string_view bytes) {
  std::string text(sodium_base64_ENCODED_LEN(bytes.size(), sodium_base64_VARIANT_ORIGINAL), '\0');
  sodium_bin2base64(text.data(), text.size(), reinterpret_cast<const unsigned char*>(bytes.data()),
                    bytes.size(), sodium_base64_VARIANT_ORIGINAL);
  text.pop_back();  // the NUL
  return text;
}

absl::StatusOr<std::string> FromBase64(std::string_view text) {
  std::string bytes(text.size() / 4 * 3 + 3, '\0');
  size_t size = 0;
  const int result =
      sodium_base642bin(reinterpret_cast<unsigned char*>(bytes.data()), bytes.size(), text.data(),
                        text.size(), nullptr, &size, nullptr, sodium_base64_VARIANT_ORIGINAL);
  bytes.resize(result == 0 ? size : 0);
  // libsodium takes some bytes above 0x7f for characters.
  if (result != 0 || ToBase64(bytes) != text) {
    return absl::InvalidArgumentError(fmt::format("\"{}\" is not base64", Excerpt(text)));
  }
  return bytes;
}

}  // namespace corpgrid::crypto
