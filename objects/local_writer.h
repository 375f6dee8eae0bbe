#pragma once

#include <string>
#include <vector>

#include "objects/local_store.h"

namespace corpgrid::objects {

class LocalWriter final : public StagedWriter {
 public:
  LocalWriter(LocalStore* store, std::string scope, std::string name)
      : store_(store), scope_(std::move(scope)), name_(std::move(name)) {}
  ~LocalWriter() override;

  // Starts the upload or finds what is there of it. Call once, first.
  absl::Status Resume(uint64_t max_bytes);

  uint64_t offset() const override { return size_; }
  absl::Status Append(std::string_view data) override;
  absl::StatusOr<ObjectRef> Finish() override;

 private:
  // Chunks become durable in groups: a flush of the disk costs about as much as writing a chunk.
  static constexpr size_t kChunksACommit = 8;

  absl::StatusOr<std::vector<crypto::Hash>> StoredChunks();
  absl::Status ReadBack(const std::vector<crypto::Hash>& chunks);
  absl::StatusOr<std::string> StoredTail();
  absl::Status AppendAll(std::string_view data);
  absl::Status CloseChunk();
  absl::Status Publish();
  absl::Status AddPending(sqlite::Database& db, ObjectIndex& index);
  void Committed();
  absl::StatusOr<ObjectRef> Complete();

  LocalStore* const store_;
  const std::string scope_;
  const std::string name_;
  uint64_t max_bytes_ = 0;
  int64_t upload_ = 0;
  uint64_t size_ = 0;  // of everything appended
  crypto::Hasher hasher_;
  std::string tail_;                          // the chunk that is not full yet
  uint64_t committed_chunks_ = 0;             // in the index
  std::vector<ChunkFiles::Pin> pending_;      // the chunks after those
  std::vector<ChunkFiles::Written> written_;  // of these, with files not yet published
  absl::Status status_ = absl::FailedPreconditionError("the upload is not open");
};

}  // namespace corpgrid::objects
