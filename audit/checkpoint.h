#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "audit/tree.h"
#include "crypto/signature.h"

// What a log says of itself: so many entries, with this root, signed. In the text form of
// https://c2sp.org/tlog-checkpoint, a note as https://c2sp.org/signed-note has it:
//
//   corpgrid/1f2e…                  the log's origin
//   17                              how many entries
//   CsUYapGGPo4dkMgIAUqom/Xajj7…=   the tree's root
//
//   — corpgrid/1f2e… Az3grlgtzPIC…  who signs: key id and signature
namespace corpgrid::audit {

struct Checkpoint {
  std::string origin;
  uint64_t size = 0;
  TreeHash root;

  bool operator==(const Checkpoint&) const = default;
  // The three lines, which signatures cover.
  std::string Text() const;
};

// What the log of a grid calls itself.
std::string OriginOf(std::string_view grid_id);

using KeyId = std::array<uint8_t, 4>;

// SHA-256(name || 0x0A || 0x01 || key), cut to four bytes; 0x01 stands for Ed25519.
KeyId KeyIdOf(std::string_view name, const crypto::PublicKey& key);

// A checkpoint as it travels. Whoever reads one trusts nothing of it before Verify.
struct SignedCheckpoint {
  struct Signature {
    std::string name;
    KeyId key_id{};
    std::string bytes;  // of a length that depends on the kind of key
  };

  static constexpr size_t kMaxBytes = 128 << 10;
  static constexpr size_t kMaxSignatures = 64;

  Checkpoint checkpoint;
  std::vector<Signature> signatures;

  // Signs under the origin's name.
  static SignedCheckpoint Sign(Checkpoint checkpoint, const crypto::KeyPair& key);

  // Reads what Text() gives, nothing else: three lines, printable ASCII, numbers and base64 in
  // their only form. Errors: InvalidArgument that says what is wrong.
  static absl::StatusOr<SignedCheckpoint> Parse(std::string_view text);

  // OK when it is of the log `origin` and `key` signed it under that name; other signatures (of
  // witnesses, say) are left alone. Errors: PermissionDenied.
  absl::Status Verify(std::string_view origin, const crypto::PublicKey& key) const;

  std::string Text() const;
};

}  // namespace corpgrid::audit
