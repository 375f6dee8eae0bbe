#include "crypto/hash.h"

#include <algorithm>

#include "crypto/hex.h"
#include "fmt/format.h"

namespace corpgrid::crypto {

std::string Hash::Hex() const { return ToHex(Raw()); }

std::string_view Hash::Raw() const {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

absl::StatusOr<Hash> Hash::FromHex(std::string_view hex) {
  Hash hash;
  if (!ParseHex(hex, hash.bytes)) {
    return absl::InvalidArgumentError(
        fmt::format("expected a hash of 64 hexadecimal digits, got \"{}\" ({} characters)",
                    Excerpt(hex), hex.size()));
  }
  return hash;
}

absl::StatusOr<Hash> Hash::FromRaw(std::string_view raw) {
  Hash hash;
  if (raw.size() != hash.bytes.size()) {
    return absl::InvalidArgumentError(
        fmt::format("expected a hash of 32 bytes, got {} bytes", raw.size()));
  }
  std::copy(raw.begin(), raw.end(), hash.bytes.begin());
  return hash;
}

Hash Blake3(std::string_view data) {
  Hasher hasher;
  hasher.Update(data);
  return hasher.Finish();
}

Hash KeyedBlake3(const std::array<uint8_t, 32>& key, std::string_view data) {
  blake3_hasher state;
  blake3_hasher_init_keyed(&state, key.data());
  blake3_hasher_update(&state, data.data(), data.size());
  Hash hash;
  blake3_hasher_finalize(&state, hash.bytes.data(), hash.bytes.size());
  return hash;
}

Hash Hasher::Finish() const {
  Hash hash;
  blake3_hasher_finalize(&state_, hash.bytes.data(), hash.bytes.size());
  return hash;
}

}  // namespace corpgrid::crypto
