#include "crypto/signature.h"

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <utility>

#include "base/status_macros.h"
#include "crypto/hex.h"
#include "crypto/key_file.h"
#include "fmt/format.h"
#include "sodium.h"

namespace corpgrid::crypto {
namespace {

constexpr std::string_view kPublicPrefix = "cgp1.";
constexpr std::string_view kSecretPrefix = "cgs1.";
constexpr size_t kKeyFileLimit = 4096;

void StartSodium() {
  // Without a source of randomness no key is safe. Calling it again costs nothing.
  if (sodium_init() < 0) std::abort();
}

const unsigned char* Bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

void Wipe(std::string& secret) { sodium_memzero(secret.data(), secret.size()); }

absl::Status OnlyTheOwnerReads(const std::string& path, const struct stat& info) {
  if ((info.st_mode & 077) == 0) return absl::OkStatus();
  return absl::PermissionDeniedError(
      fmt::format("{} holds a secret key, but others may use it (mode {:04o}): if nobody did, run "
                  "chmod 600 {}; else delete it, and a new key is made",
                  path, info.st_mode & 07777, path));
}

struct Seed {
  std::array<uint8_t, crypto_sign_SEEDBYTES> bytes{};
  ~Seed() { sodium_memzero(bytes.data(), bytes.size()); }
};

// A key file is "cgs1.<seed>\n<public key>\n": the second line shows damage to the first.
std::string FileText(const std::array<uint8_t, 64>& secret, const PublicKey& public_key) {
  std::string seed = ToHex({reinterpret_cast<const char*>(secret.data()), crypto_sign_SEEDBYTES});
  std::string text = fmt::format("{}{}\n{}\n", kSecretPrefix, seed, public_key.ToText());
  Wipe(seed);
  return text;
}

}  // namespace

std::string PublicKey::ToText() const { return std::string(kPublicPrefix) + ToHex(Raw()); }

std::string_view PublicKey::Raw() const {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

absl::StatusOr<PublicKey> PublicKey::FromText(std::string_view text) {
  PublicKey key;
  if (!text.starts_with(kPublicPrefix) || !ParseHex(text.substr(kPublicPrefix.size()), key.bytes)) {
    return absl::InvalidArgumentError(fmt::format(
        "expected a public key (\"{}\" and 64 hexadecimal digits), got \"{}", kPublicPrefix,
        text.starts_with(kSecretPrefix) ? "cgs1.…\", a secret key" : Excerpt(text) + '"'));
  }
  return key;
}

absl::StatusOr<PublicKey> PublicKey::FromRaw(std::string_view raw) {
  PublicKey key;
  if (raw.size() != key.bytes.size()) {
    return absl::InvalidArgumentError(
        fmt::format("expected a public key of 32 bytes, got {} bytes", raw.size()));
  }
  std::copy(raw.begin(), raw.end(), key.bytes.begin());
  return key;
}

KeyPair KeyPair::Generate() {
  StartSodium();
  KeyPair pair;
  crypto_sign_keypair(pair.public_key_.bytes.data(), pair.secret_.data());
  return pair;
}

absl::StatusOr<KeyPair> KeyPair::LoadOrCreate(const std::string& path) {
  StartSodium();
  const auto check = [&](const struct stat& info) { return OnlyTheOwnerReads(path, info); };
  absl::StatusOr<std::string> text = ReadKeyFile(path, kKeyFileLimit, check);
  if (absl::IsNotFound(text.status())) {
    KeyPair pair = Generate();
    std::string fresh = FileText(pair.secret_, pair.public_key_);
    const absl::Status written = WriteKeyFile(path, fresh, 0600, IfExists::kKeep);
    Wipe(fresh);
    if (written.ok()) return pair;
    if (!absl::IsAlreadyExists(written)) return written;
    text = ReadKeyFile(path, kKeyFileLimit, check);
  }
  RETURN_IF_ERROR(text.status());

  KeyPair pair;
  Seed seed;
  const std::string_view all = *text;
  const size_t first = kSecretPrefix.size() + 2 * seed.bytes.size();
  bool sound = all.starts_with(kSecretPrefix) && all.size() > first &&
               ParseHex(all.substr(kSecretPrefix.size(), 2 * seed.bytes.size()), seed.bytes);
  if (sound) {
    crypto_sign_seed_keypair(pair.public_key_.bytes.data(), pair.secret_.data(), seed.bytes.data());
    std::string expected = FileText(pair.secret_, pair.public_key_);
    sound = EqualSecrets(all, expected);
    Wipe(expected);
  }
  Wipe(*text);
  if (!sound) {
    return absl::DataLossError(fmt::format(
        "{} is damaged: restore it from a backup, or delete it, and a new key is made", path));
  }
  return pair;
}

KeyPair::KeyPair(KeyPair&& other) noexcept { *this = std::move(other); }

KeyPair& KeyPair::operator=(KeyPair&& other) noexcept {
  if (this != &other) {
    public_key_ = other.public_key_;
    secret_ = other.secret_;
    sodium_memzero(other.secret_.data(), other.secret_.size());
  }
  return *this;
}

KeyPair::~KeyPair() { sodium_memzero(secret_.data(), secret_.size()); }

std::string KeyPair::Sign(std::string_view message) const {
  std::string signature(crypto_sign_BYTES, '\0');
  crypto_sign_detached(reinterpret_cast<unsigned char*>(signature.data()), nullptr, Bytes(message),
                       message.size(), secret_.data());
  return signature;
}

absl::Status Verify(const PublicKey& key, std::string_view message, std::string_view signature) {
  StartSodium();
  if (signature.size() != crypto_sign_BYTES) {
    return absl::PermissionDeniedError(
        fmt::format("a signature has {} bytes, this one {}", crypto_sign_BYTES, signature.size()));
  }
  if (crypto_sign_verify_detached(Bytes(signature), Bytes(message), message.size(),
                                  key.bytes.data()) != 0) {
    return absl::PermissionDeniedError(
        fmt::format("the signature is not {}'s over this message", key.ToText()));
  }
  return absl::OkStatus();
}

std::string RandomBytes(size_t count) {
  StartSodium();
  std::string bytes(count, '\0');
  randombytes_buf(bytes.data(), bytes.size());
  return bytes;
}

bool EqualSecrets(std::string_view a, std::string_view b) {
  return a.size() == b.size() && sodium_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace corpgrid::crypto
