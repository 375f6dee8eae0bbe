#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "job/spec.h"

// Bytes from anyone are an error or the one encoding of a valid spec.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto spec = corpgrid::job::JobSpec::Decode(bytes);
  if (!spec.ok()) return 0;
  if (spec->Encode() != bytes) std::abort();
  if (!corpgrid::job::Problems(**spec).empty()) std::abort();
  for (const std::string& argument : (*spec)->command) {
    corpgrid::job::Expand(argument, **spec, (*spec)->shards - 1);
  }
  return 0;
}
