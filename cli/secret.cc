#include "cli/secret.h"

#include <fstream>

#include "fmt/format.h"

namespace corpgrid::cli {

absl::StatusOr<std::string> ReadSecret(const std::string& given) {
  if (!given.starts_with("@")) return given;
  std::ifstream in(given.substr(1));
  std::string secret;
  if (!(in >> secret)) {
    return absl::NotFoundError(fmt::format("there is no text in {}", given.substr(1)));
  }
  return secret;
}

}  // namespace corpgrid::cli
