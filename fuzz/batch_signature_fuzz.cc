#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "audit/batch_signature.h"

// What a device or a store shows as a signature is not one of a key that nobody has.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view signature(reinterpret_cast<const char*>(data), size);
  const corpgrid::crypto::PublicKey nobody;
  if (corpgrid::audit::VerifyStatement(nobody, "statement", signature).ok()) std::abort();
  return 0;
}
