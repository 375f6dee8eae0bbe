#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "blake3.h"

namespace corpgrid::crypto {

// A BLAKE3 hash: the name of an object, a bundle, a spec.
struct Hash {
  std::array<uint8_t, 32> bytes{};

  auto operator<=>(const Hash&) const = default;

  // 64 lower-case hexadecimal digits.
  std::string Hex() const;
  // The raw 32 bytes, valid as long as this hash.
  std::string_view Raw() const;

  // Errors: InvalidArgument for anything but 64 hexadecimal digits.
  static absl::StatusOr<Hash> FromHex(std::string_view hex);
  // Errors: InvalidArgument for anything but 32 bytes.
  static absl::StatusOr<Hash> FromRaw(std::string_view raw);
};

Hash Blake3(std::string_view data);

// BLAKE3 keyed with 32 bytes: a MAC and a source of unguessable tokens.
Hash KeyedBlake3(const std::array<uint8_t, 32>& key, std::string_view data);

// Hashes a stream. One thread at a time.
class Hasher {
 public:
  Hasher() { blake3_hasher_init(&state_); }
  void Update(std::string_view data) { blake3_hasher_update(&state_, data.data(), data.size()); }
  // The hash of everything so far; more may follow.
  Hash Finish() const;

 private:
  blake3_hasher state_;
};

}  // namespace corpgrid::crypto

template <>
struct std::hash<corpgrid::crypto::Hash> {
  size_t operator()(const corpgrid::crypto::Hash& hash) const {
    size_t first = 0;  // as good as any other eight bytes of a BLAKE3
    std::memcpy(&first, hash.bytes.data(), sizeof first);
    return first;
  }
};
