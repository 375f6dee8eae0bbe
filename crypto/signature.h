#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace corpgrid::crypto {

// An Ed25519 public key. As text: "cgp1." and 64 hexadecimal digits.
struct PublicKey {
  std::array<uint8_t, 32> bytes{};

  auto operator<=>(const PublicKey&) const = default;
  std::string ToText() const;
  std::string_view Raw() const;
  static absl::StatusOr<PublicKey> FromText(std::string_view text);
  static absl::StatusOr<PublicKey> FromRaw(std::string_view raw);
};

// An Ed25519 key pair (libsodium). Moveable only; the secret is wiped when it goes. Const methods
// from any thread.
class KeyPair {
 public:
  static KeyPair Generate();
  // Reads the key at `path`, or makes one there (0600, synced to disk) when the file does not
  // exist. Errors: PermissionDenied when others may read the file, DataLoss when it is damaged.
  static absl::StatusOr<KeyPair> LoadOrCreate(const std::string& path);

  KeyPair(KeyPair&&) noexcept;
  KeyPair& operator=(KeyPair&&) noexcept;
  ~KeyPair();

  const PublicKey& public_key() const { return public_key_; }
  // 64 bytes over `message`.
  std::string Sign(std::string_view message) const;

 private:
  KeyPair() = default;
  PublicKey public_key_;
  std::array<uint8_t, 64> secret_{};
};

// OK, or PermissionDenied when `signature` is not `key`'s over `message`.
absl::Status Verify(const PublicKey& key, std::string_view message, std::string_view signature);

// `count` bytes that nobody can guess.
std::string RandomBytes(size_t count);

// Whether both are equal, in time that does not depend on where they differ.
bool EqualSecrets(std::string_view a, std::string_view b);

}  // namespace corpgrid::crypto
