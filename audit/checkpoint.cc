#include "audit/checkpoint.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/status_macros.h"
#include "crypto/base64.h"
#include "crypto/hex.h"
#include "fmt/format.h"

namespace corpgrid::audit {
namespace {

constexpr std::string_view kDash = "\xE2\x80\x94 ";  // U+2014 and a space
constexpr char kEd25519 = '\x01';

absl::Status Malformed(std::string_view what) {
  return absl::InvalidArgumentError(fmt::format("malformed checkpoint: {}", what));
}

// What a key may be called; our origins are names, too. The format would take more than ASCII.
bool IsName(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(),
                                      [](char c) { return c > ' ' && c <= '~' && c != '+'; });
}

// The line up to the next '\n', which is taken as well. Errors: InvalidArgument when there is none.
absl::StatusOr<std::string_view> TakeLine(std::string_view* rest) {
  const size_t end = rest->find('\n');
  if (end == std::string_view::npos) return Malformed("it ends inside a line");
  const std::string_view line = rest->substr(0, end);
  rest->remove_prefix(end + 1);
  return line;
}

absl::StatusOr<uint64_t> ParseSize(std::string_view line) {
  uint64_t size = 0;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), size);
  if (error != std::errc() || end != line.data() + line.size() || line != std::to_string(size)) {
    return Malformed(fmt::format("\"{}\" is no tree size", crypto::Excerpt(line)));
  }
  return size;
}

absl::StatusOr<Checkpoint> ParseBody(std::string_view* rest) {
  Checkpoint checkpoint;
  ASSIGN_OR_RETURN(const std::string_view origin, TakeLine(rest));
  if (!IsName(origin)) {
    return Malformed(fmt::format("\"{}\" is no origin", crypto::Excerpt(origin)));
  }
  checkpoint.origin = origin;
  ASSIGN_OR_RETURN(const std::string_view size, TakeLine(rest));
  ASSIGN_OR_RETURN(checkpoint.size, ParseSize(size));
  ASSIGN_OR_RETURN(const std::string_view root, TakeLine(rest));
  const absl::StatusOr<std::string> raw = crypto::FromBase64(root);
  const absl::StatusOr<TreeHash> hash =
      raw.ok() ? TreeHash::FromRaw(*raw) : absl::StatusOr<TreeHash>(raw.status());
  if (!hash.ok()) {
    return Malformed(fmt::format("the root: {}", std::string(hash.status().message())));
  }
  checkpoint.root = *hash;
  return checkpoint;
}

absl::StatusOr<SignedCheckpoint::Signature> ParseSignature(std::string_view line) {
  const std::string_view whole = line;
  const auto malformed = [&] {
    return Malformed(fmt::format("\"{}\" is no line of a signature", crypto::Excerpt(whole)));
  };
  if (!line.starts_with(kDash)) return malformed();
  line.remove_prefix(kDash.size());
  const size_t space = line.find(' ');
  SignedCheckpoint::Signature signature;
  signature.name = line.substr(0, space);
  if (space == std::string_view::npos || !IsName(signature.name)) return malformed();
  const absl::StatusOr<std::string> bytes = crypto::FromBase64(line.substr(space + 1));
  if (!bytes.ok() || bytes->size() <= signature.key_id.size()) return malformed();
  std::copy_n(bytes->begin(), signature.key_id.size(), signature.key_id.begin());
  signature.bytes = bytes->substr(signature.key_id.size());
  return signature;
}

}  // namespace

std::string Checkpoint::Text() const {
  return fmt::format("{}\n{}\n{}\n", origin, size, crypto::ToBase64(root.Raw()));
}

std::string OriginOf(std::string_view grid_id) { return fmt::format("corpgrid/{}", grid_id); }

KeyId KeyIdOf(std::string_view name, const crypto::PublicKey& key) {
  const TreeHash hash = Sha256(fmt::format("{}\n{}{}", name, kEd25519, key.Raw()));
  KeyId id;
  std::copy_n(hash.bytes.begin(), id.size(), id.begin());
  return id;
}

SignedCheckpoint SignedCheckpoint::Sign(Checkpoint checkpoint, const crypto::KeyPair& key) {
  SignedCheckpoint made;
  made.signatures.push_back({.name = checkpoint.origin,
                             .key_id = KeyIdOf(checkpoint.origin, key.public_key()),
                             .bytes = key.Sign(checkpoint.Text())});
  made.checkpoint = std::move(checkpoint);
  return made;
}

absl::StatusOr<SignedCheckpoint> SignedCheckpoint::Parse(std::string_view text) {
  if (text.size() > kMaxBytes) {
    return Malformed(fmt::format("it has {} bytes, more than {}", text.size(), kMaxBytes));
  }
  SignedCheckpoint parsed;
  ASSIGN_OR_RETURN(parsed.checkpoint, ParseBody(&text));
  ASSIGN_OR_RETURN(const std::string_view blank, TakeLine(&text));
  if (!blank.empty()) return Malformed("more than three lines stand before the signatures");
  while (!text.empty()) {
    if (parsed.signatures.size() == kMaxSignatures) return Malformed("too many signatures");
    ASSIGN_OR_RETURN(const std::string_view line, TakeLine(&text));
    ASSIGN_OR_RETURN(Signature signature, ParseSignature(line));
    parsed.signatures.push_back(std::move(signature));
  }
  if (parsed.signatures.empty()) return Malformed("nobody signed it");
  return parsed;
}

absl::Status SignedCheckpoint::Verify(std::string_view origin, const crypto::PublicKey& key) const {
  if (checkpoint.origin != origin) {
    return absl::PermissionDeniedError(
        fmt::format("the checkpoint is of the log {}, not of {}", checkpoint.origin, origin));
  }
  const KeyId id = KeyIdOf(origin, key);
  bool found = false;
  for (const Signature& signature : signatures) {
    if (signature.name != origin || signature.key_id != id) continue;
    found = true;
    if (crypto::Verify(key, checkpoint.Text(), signature.bytes).ok()) continue;
    return absl::PermissionDeniedError(
        fmt::format("the signature on the checkpoint of {} entries is not the log's ({})",
                    checkpoint.size, key.ToText()));
  }
  if (found) return absl::OkStatus();
  return absl::PermissionDeniedError(
      fmt::format("the checkpoint of {} entries is not signed with the log's key ({})",
                  checkpoint.size, key.ToText()));
}

std::string SignedCheckpoint::Text() const {
  std::string text = checkpoint.Text() + "\n";
  for (const Signature& signature : signatures) {
    std::string bytes(signature.key_id.begin(), signature.key_id.end());
    bytes += signature.bytes;
    text += fmt::format("{}{} {}\n", kDash, signature.name, crypto::ToBase64(bytes));
  }
  return text;
}

}  // namespace corpgrid::audit
