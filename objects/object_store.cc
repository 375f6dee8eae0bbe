#include "objects/object_store.h"

#include "base/status_macros.h"

namespace corpgrid::objects {

absl::Status ObjectStore::Release(std::string_view owner) {
  for (bool more = true; more;) {
    ASSIGN_OR_RETURN(more, ReleaseSome(owner));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadWhole(ObjectStore* store, const crypto::Hash& hash) {
  ASSIGN_OR_RETURN(const auto reader, store->Open(hash, 0));
  std::string bytes;
  bytes.reserve(reader->size_bytes());
  while (true) {
    ASSIGN_OR_RETURN(const std::string part, reader->Next());
    if (part.empty()) return bytes;
    bytes += part;
  }
}

}  // namespace corpgrid::objects
