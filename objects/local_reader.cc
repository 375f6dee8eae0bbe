#include "objects/local_reader.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"
#include "fmt/format.h"

namespace corpgrid::objects {

using sqlite::Blob;
using sqlite::Query;

absl::StatusOr<std::unique_ptr<ObjectReader>> LocalReader::Open(LocalStore* store,
                                                                const crypto::Hash& hash,
                                                                uint64_t offset) {
  ASSIGN_OR_RETURN(auto db, store->Reading());
  ASSIGN_OR_RETURN(Query query, db->Ask("SELECT id, size, (SELECT COUNT(*) FROM object_chunks "
                                        "WHERE object = id) FROM objects WHERE hash = ?",
                                        Blob{hash.Raw()}));
  ASSIGN_OR_RETURN(const bool found, query.Next());
  if (!found) return absl::NotFoundError(fmt::format("there is no object {}", hash.Hex()));
  const auto size = static_cast<uint64_t>(query.Int(1));
  const auto chunks = static_cast<uint64_t>(query.Int(2));
  const uint64_t expected =
      size <= ObjectStore::kSmallBytes ? 0 : (size - 1) / ObjectStore::kChunkBytes + 1;
  if (chunks != expected) {
    return absl::DataLossError(fmt::format("the index lists {} chunks of object {}, not {}", chunks,
                                           hash.Hex(), expected));
  }
  if (offset > size) {
    return absl::OutOfRangeError(
        fmt::format("object {} has {} bytes, not {}", hash.Hex(), size, offset));
  }
  return std::unique_ptr<ObjectReader>(
      new LocalReader(store, query.Int(0), ObjectRef{.hash = hash, .size_bytes = size}, offset));
}

absl::StatusOr<std::string> LocalReader::Next() {
  if (offset_ == object_.size_bytes) return "";
  const uint64_t seq = offset_ / ObjectStore::kChunkBytes;
  absl::StatusOr<std::string> data =
      object_.size_bytes <= ObjectStore::kSmallBytes ? ReadBlob() : ReadChunk(seq);
  RETURN_IF_ERROR(data.status());
  data->erase(0, offset_ - seq * ObjectStore::kChunkBytes);
  offset_ += data->size();
  return data;
}

absl::StatusOr<std::string> LocalReader::ReadBlob() {
  std::string data;
  {
    ASSIGN_OR_RETURN(auto db, store_->Reading());
    ASSIGN_OR_RETURN(Query query, db->Ask("SELECT data FROM blobs WHERE object = ?", id_));
    ASSIGN_OR_RETURN(const bool found, query.Next());
    if (found) data = query.Bytes(0);
  }
  if (data.size() == object_.size_bytes && crypto::Blake3(data) == object_.hash) return data;
  return Missing(absl::DataLossError(
      fmt::format("the bytes of object {} are not what was stored", object_.hash.Hex())));
}

absl::StatusOr<std::string> LocalReader::ReadChunk(uint64_t seq) {
  crypto::Hash chunk;
  {
    ASSIGN_OR_RETURN(auto db, store_->Reading());
    ASSIGN_OR_RETURN(
        Query query,
        db->Ask("SELECT chunk FROM object_chunks WHERE object = ? AND seq = ?", id_, seq));
    ASSIGN_OR_RETURN(const bool found, query.Next());
    if (found) chunk = crypto::Hash::FromRaw(query.Bytes(0)).value_or(chunk);
  }
  const uint64_t start = seq * ObjectStore::kChunkBytes;
  absl::StatusOr<std::string> data =
      store_->chunks().Read(chunk, std::min(ObjectStore::kChunkBytes, object_.size_bytes - start));
  if (data.status().code() == absl::StatusCode::kDataLoss) return Missing(data.status());
  return data;
}

// An object that somebody deletes while it is read also looks damaged.
absl::Status LocalReader::Missing(const absl::Status& loss) {
  ASSIGN_OR_RETURN(const bool exists, store_->Exists(id_));
  if (exists) return loss;
  return absl::NotFoundError(
      fmt::format("object {} was deleted while it was read", object_.hash.Hex()));
}

}  // namespace corpgrid::objects
