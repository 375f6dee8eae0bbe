#include "cli/keys.h"

#include "base/status_macros.h"
#include "crypto/keyring.h"
#include "crypto/signature.h"
#include "fmt/format.h"

namespace corpgrid::cli {

std::string TrustedKeysPath(const std::string& agent_folder) { return agent_folder + "/trusted"; }

absl::Status AddTrustedKeys(const std::string& keyring_path, const std::vector<std::string>& keys) {
  for (const std::string& text : keys) {
    if (text.starts_with("cgp1.")) {
      ASSIGN_OR_RETURN(const crypto::PublicKey key, crypto::PublicKey::FromText(text));
      RETURN_IF_ERROR(crypto::Keyring::Add(keyring_path, key, ""));
      continue;
    }
    // A file of keys is a keyring itself.
    ASSIGN_OR_RETURN(const crypto::Keyring ring, crypto::Keyring::Load(text));
    if (ring.entries().empty()) {
      return absl::InvalidArgumentError(fmt::format(
          "{} is neither a key (cgp1.…, see `corpgrid key show`) nor a file of keys", text));
    }
    for (const auto& entry : ring.entries()) {
      RETURN_IF_ERROR(crypto::Keyring::Add(keyring_path, entry.key, entry.name));
    }
  }
  return absl::OkStatus();
}

}  // namespace corpgrid::cli
