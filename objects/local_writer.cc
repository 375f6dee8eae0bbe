#include "objects/local_writer.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"
#include "base/text.h"
#include "fmt/format.h"

namespace corpgrid::objects {

using sqlite::Database;
using sqlite::Query;

LocalWriter::~LocalWriter() {
  // Best effort: what cannot be kept is sent again, as offset() will tell.
  if (status_.ok() && Publish().ok()) {
    (void)store_->Commit([&](Database& db, ObjectIndex& index) -> absl::Status {
      RETURN_IF_ERROR(AddPending(db, index));
      return index.SetTail(db, upload_, tail_);
    });
  }
  store_->chunks().Discard(written_);
  store_->WriterClosed(scope_, name_);
}

absl::Status LocalWriter::Resume(uint64_t max_bytes) {
  max_bytes_ = max_bytes;
  std::optional<int64_t> upload;
  RETURN_IF_ERROR(store_->Commit([&](Database& db, ObjectIndex& index) -> absl::Status {
    ASSIGN_OR_RETURN(upload, index.FindOrStartUpload(db, scope_, name_));
    return absl::OkStatus();
  }));
  if (!upload) {
    return absl::AlreadyExistsError(
        fmt::format("{}: the upload of \"{}\" is complete", scope_, name_));
  }
  upload_ = *upload;
  ASSIGN_OR_RETURN(const std::vector<crypto::Hash> chunks, StoredChunks());
  RETURN_IF_ERROR(ReadBack(chunks));
  if (size_ > max_bytes_) {
    return absl::ResourceExhaustedError(
        fmt::format("{}: \"{}\" has {} already, more than the {} allowed", scope_, name_,
                    FormatBytes(size_), FormatBytes(max_bytes_)));
  }
  status_ = absl::OkStatus();
  return status_;
}

absl::StatusOr<std::vector<crypto::Hash>> LocalWriter::StoredChunks() {
  ASSIGN_OR_RETURN(auto db, store_->Reading());
  ASSIGN_OR_RETURN(
      Query query,
      db->Ask("SELECT seq, chunk FROM object_chunks WHERE object = ? ORDER BY seq", upload_));
  std::vector<crypto::Hash> chunks;
  for (;;) {
    ASSIGN_OR_RETURN(const bool more, query.Next());
    const absl::StatusOr<crypto::Hash> hash =
        more ? crypto::Hash::FromRaw(query.Bytes(1)) : crypto::Hash{};
    if (!more || !hash.ok() || query.Int(0) != static_cast<int64_t>(chunks.size())) return chunks;
    chunks.push_back(*hash);
  }
}

// The hash of the whole needs all bytes again, which also shows whether they are still there.
absl::Status LocalWriter::ReadBack(const std::vector<crypto::Hash>& chunks) {
  for (const crypto::Hash& chunk : chunks) {
    const absl::StatusOr<std::string> data = store_->chunks().Read(chunk, ObjectStore::kChunkBytes);
    if (data.status().code() == absl::StatusCode::kDataLoss) {
      return store_->Commit([&](Database& db, ObjectIndex& index) {
        return index.CutUpload(db, upload_, committed_chunks_);
      });
    }
    RETURN_IF_ERROR(data.status());
    hasher_.Update(*data);
    size_ += data->size();
    ++committed_chunks_;
  }
  ASSIGN_OR_RETURN(tail_, StoredTail());
  size_ += tail_.size();
  return absl::OkStatus();
}

absl::StatusOr<std::string> LocalWriter::StoredTail() {
  ASSIGN_OR_RETURN(auto db, store_->Reading());
  ASSIGN_OR_RETURN(Query query, db->Ask("SELECT data FROM blobs WHERE object = ?", upload_));
  ASSIGN_OR_RETURN(const bool found, query.Next());
  const std::string_view stored = found ? query.Bytes(0) : "";
  constexpr size_t kHashBytes = sizeof(crypto::Hash::bytes);
  if (stored.size() <= kHashBytes) return "";
  const std::string_view tail = stored.substr(kHashBytes);
  if (crypto::Blake3(tail).Raw() != stored.substr(0, kHashBytes)) return "";
  return std::string(tail);
}

absl::Status LocalWriter::Append(std::string_view data) {
  RETURN_IF_ERROR(status_);
  status_ = AppendAll(data);
  return status_;
}

absl::Status LocalWriter::AppendAll(std::string_view data) {
  if (data.size() > max_bytes_ - size_) {
    return absl::ResourceExhaustedError(fmt::format("{}: \"{}\" is larger than the {} allowed",
                                                    scope_, name_, FormatBytes(max_bytes_)));
  }
  while (!data.empty()) {
    const size_t part = std::min(data.size(), ObjectStore::kChunkBytes - tail_.size());
    tail_ += data.substr(0, part);
    size_ += part;
    data.remove_prefix(part);
    if (tail_.size() < ObjectStore::kChunkBytes) continue;
    RETURN_IF_ERROR(CloseChunk());
    if (pending_.size() < kChunksACommit) continue;
    RETURN_IF_ERROR(Publish());
    RETURN_IF_ERROR(store_->Commit([&](Database& db, ObjectIndex& index) -> absl::Status {
      RETURN_IF_ERROR(AddPending(db, index));
      return index.SetTail(db, upload_, "");
    }));
    Committed();
  }
  return absl::OkStatus();
}

absl::Status LocalWriter::CloseChunk() {
  const crypto::Hash hash = crypto::Blake3(tail_);
  pending_.emplace_back(&store_->chunks(), hash);
  const bool is_repeat = std::any_of(written_.begin(), written_.end(),
                                     [&](const auto& file) { return file.hash == hash; });
  if (!is_repeat && !store_->chunks().Holds(hash, tail_.size())) {
    ASSIGN_OR_RETURN(std::string path, store_->chunks().WriteTemporary(tail_));
    written_.push_back({.temporary_path = std::move(path), .hash = hash});
  }
  hasher_.Update(tail_);
  tail_.clear();
  return absl::OkStatus();
}

absl::Status LocalWriter::Publish() {
  RETURN_IF_ERROR(store_->chunks().Publish(written_));
  written_.clear();
  return absl::OkStatus();
}

absl::Status LocalWriter::AddPending(Database& db, ObjectIndex& index) {
  RETURN_IF_ERROR(index.CheckUpload(db, upload_));
  for (size_t i = 0; i < pending_.size(); ++i) {
    RETURN_IF_ERROR(index.AddChunk(db, upload_, committed_chunks_ + i, pending_[i].hash()));
  }
  return absl::OkStatus();
}

void LocalWriter::Committed() {
  committed_chunks_ += pending_.size();
  pending_.clear();
}

absl::StatusOr<ObjectRef> LocalWriter::Finish() {
  RETURN_IF_ERROR(status_);
  const absl::StatusOr<ObjectRef> object = Complete();
  status_ = object.ok() ? absl::FailedPreconditionError("the upload is complete") : object.status();
  return object;
}

absl::StatusOr<ObjectRef> LocalWriter::Complete() {
  ObjectRef object{.hash = {}, .size_bytes = size_};
  if (size_ <= ObjectStore::kSmallBytes) {
    object.hash = crypto::Blake3(tail_);
    RETURN_IF_ERROR(store_->Commit([&](Database& db, ObjectIndex& index) -> absl::Status {
      RETURN_IF_ERROR(index.CheckUpload(db, upload_));
      return index.StageBytes(db, scope_, name_, object.hash, tail_);
    }));
    return object;
  }
  if (!tail_.empty()) RETURN_IF_ERROR(CloseChunk());
  object.hash = hasher_.Finish();
  RETURN_IF_ERROR(Publish());
  RETURN_IF_ERROR(store_->Commit([&](Database& db, ObjectIndex& index) -> absl::Status {
    RETURN_IF_ERROR(AddPending(db, index));
    return index.CompleteUpload(db, scope_, name_, upload_, object);
  }));
  Committed();
  return object;
}

}  // namespace corpgrid::objects
