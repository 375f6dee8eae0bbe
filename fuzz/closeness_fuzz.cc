#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "job/closeness.h"

// Outputs as untrusted devices hand them in. The first byte chooses format and tolerance, the
// second where one output ends and the other begins. Who comes first must not matter.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  corpgrid::job::Tolerance tolerance;
  tolerance.format = static_cast<corpgrid::job::NumberFormat>(data[0] % 5);
  tolerance.absolute = data[0] & 0x80 ? 1e-3 : 0;
  tolerance.relative = data[0] & 0x40 ? 0.25 : 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
  const size_t cut = text.size() * data[1] / 255;
  const std::string_view a = text.substr(0, cut), b = text.substr(cut);
  const bool same = Difference(tolerance, a, b).empty();
  if (same != Difference(tolerance, b, a).empty()) std::abort();
  // What agrees with another agrees with itself.
  if (same && !Difference(tolerance, a, a).empty()) std::abort();
  return 0;
}
