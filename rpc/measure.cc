#include "rpc/measure.h"

#include <array>
#include <fstream>

#include "fmt/format.h"

namespace corpgrid::rpc {

absl::StatusOr<crypto::Hash> Measure(const std::vector<std::string>& files) {
  crypto::Hasher all;
  for (const std::string& path : files) {
    std::ifstream file(path, std::ios::binary);
    crypto::Hasher hasher;
    std::array<char, 1 << 16> bytes{};
    while (file.read(bytes.data(), bytes.size()) || file.gcount() > 0) {
      hasher.Update({bytes.data(), static_cast<size_t>(file.gcount())});
    }
    if (!file.eof()) return absl::UnavailableError(fmt::format("cannot read {}", path));
    all.Update(hasher.Finish().Raw());
  }
  return all.Finish();
}

}  // namespace corpgrid::rpc
