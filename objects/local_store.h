#pragma once

#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "base/file.h"
#include "base/sqlite.h"
#include "objects/chunk_files.h"
#include "objects/group_commit.h"
#include "objects/object_index.h"
#include "objects/object_store.h"

namespace corpgrid::objects {

// OpenLocalStore() with the calls through which chunks reach the disk.
absl::StatusOr<std::unique_ptr<ObjectStore>> OpenLocalStoreWith(const std::string& folder,
                                                                FileCalls calls);

class LocalStore final : public ObjectStore {
 public:
  static absl::StatusOr<std::unique_ptr<LocalStore>> Open(const std::string& folder,
                                                          FileCalls calls);

  absl::StatusOr<std::unique_ptr<StagedWriter>> OpenStaged(std::string_view scope,
                                                           std::string_view name,
                                                           uint64_t max_bytes) override;
  absl::StatusOr<std::vector<ObjectRef>> StageSmall(std::span<const SmallObject> objects) override;
  absl::StatusOr<std::vector<StagedObject>> Staged(std::string_view scope) override;
  absl::StatusOr<std::vector<std::string>> Scopes() override;
  absl::StatusOr<uint64_t> StagedBytes(std::string_view scope, std::string_view name) override;
  absl::Status Discard(std::string_view scope, std::string_view name) override;
  absl::Status Keep(std::span<const std::pair<std::string, std::string>> scopes) override;
  absl::Status Drop(std::span<const std::string> scopes) override;
  absl::StatusOr<std::vector<std::string>> Owners() override;
  absl::StatusOr<bool> ReleaseSome(std::string_view owner) override;
  absl::StatusOr<std::unique_ptr<ObjectReader>> Open(const crypto::Hash& hash,
                                                     uint64_t offset) override;
  absl::StatusOr<bool> Has(const crypto::Hash& hash) override;

  // What the writers and readers share.

  // Changes the index durably, together with what other threads want to change, then removes the
  // files of chunks that nothing names any more.
  using Change = std::function<absl::Status(sqlite::Database&, ObjectIndex&)>;
  absl::Status Commit(const Change& change);
  ChunkFiles& chunks() { return chunks_; }
  absl::StatusOr<sqlite::ReadPool::Lease> Reading() { return readers_.Take(); }
  // Whether `id` is still the complete object that it was.
  absl::StatusOr<bool> Exists(int64_t id);
  void WriterClosed(const std::string& scope, const std::string& name);

 private:
  LocalStore(const std::string& folder, FileLock lock, sqlite::Database db, ObjectIndex index,
             FileCalls calls);

  absl::StatusOr<bool> IsChunkNamed(const crypto::Hash& hash);

  const FileLock lock_;
  GroupCommit commit_;
  ObjectIndex index_;  // within commit_ only
  sqlite::ReadPool readers_;
  ChunkFiles chunks_;
  std::mutex mutex_;
  std::set<std::pair<std::string, std::string>> open_writers_;
};

}  // namespace corpgrid::objects
