#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "audit/checkpoint.h"

// What a scheduler or a file shows as a checkpoint is an error or the one text of a checkpoint.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto parsed = corpgrid::audit::SignedCheckpoint::Parse(text);
  if (!parsed.ok()) return 0;
  if (parsed->Text() != text) std::abort();
  const corpgrid::crypto::PublicKey nobody;
  if (parsed->Verify(parsed->checkpoint.origin, nobody).ok()) std::abort();
  return 0;
}
