#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "crypto/signature.h"

namespace corpgrid::crypto {

// The public keys whose jobs a device runs. The file has one "cgp1.…" key a line, with a name
// behind it if someone gave one, and comments from '#' on. Const methods from any thread.
class Keyring {
 public:
  struct Entry {
    PublicKey key;
    std::string name;
  };

  // Reads `path`; a missing file is an empty ring. Errors: InvalidArgument with FILE:LINE for each
  // bad line, PermissionDenied when others may change the file.
  static absl::StatusOr<Keyring> Load(const std::string& path);

  // Adds `key` to the file at `path`, which keeps its comments and order. Adding a key again
  // changes nothing. Programs may add at once; readers see the file before or after. Errors:
  // Load's, and InvalidArgument for a name with a line break or '#'.
  static absl::Status Add(const std::string& path, const PublicKey& key, std::string_view name);

  bool Trusts(const PublicKey& key) const;
  const std::vector<Entry>& entries() const { return entries_; }

 private:
  static absl::StatusOr<Keyring> Parse(std::string_view text, const std::string& path);

  std::vector<Entry> entries_;
};

}  // namespace corpgrid::crypto
