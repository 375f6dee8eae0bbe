#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/sqlite.h"
#include "crypto/hash.h"
#include "objects/object_store.h"

namespace corpgrid::objects {

// The tables of index.db and the changes of them, each a part of a transaction of GroupCommit. An
// upload in progress is an object without a hash. Objects count the scopes and owners that name
// them, chunks the objects; what nobody names any more is deleted in the same transaction.
// One thread at a time.
class ObjectIndex {
 public:
  // Makes or checks the tables. Errors: FailedPrecondition when a newer program wrote them.
  static absl::StatusOr<ObjectIndex> Open(sqlite::Database& db);

  absl::Status StageBytes(sqlite::Database& db, std::string_view scope, std::string_view name,
                          const crypto::Hash& hash, std::string_view data);

  // An upload in progress; nothing when that name is complete.
  absl::StatusOr<std::optional<int64_t>> FindOrStartUpload(sqlite::Database& db,
                                                           std::string_view scope,
                                                           std::string_view name);
  // Errors: Aborted when the upload was ended meanwhile.
  absl::Status CheckUpload(sqlite::Database& db, int64_t upload);
  absl::Status AddChunk(sqlite::Database& db, int64_t upload, uint64_t seq,
                        const crypto::Hash& chunk);
  // Forgets the chunks from `seq` on.
  absl::Status CutUpload(sqlite::Database& db, int64_t upload, uint64_t seq);
  // What came after the last whole chunk; replaces what was there.
  absl::Status SetTail(sqlite::Database& db, int64_t upload, std::string_view tail);
  absl::Status CompleteUpload(sqlite::Database& db, std::string_view scope, std::string_view name,
                              int64_t upload, const ObjectRef& object);

  absl::Status Discard(sqlite::Database& db, std::string_view scope, std::string_view name);
  absl::Status Keep(sqlite::Database& db, std::string_view scope, std::string_view owner);
  absl::Status Drop(sqlite::Database& db, std::string_view scope);
  // Releases some of what `owner` kept. True when there may be more.
  absl::StatusOr<bool> ReleaseSome(sqlite::Database& db, std::string_view owner);

  // The chunks that the transaction so far let go, and forgets them.
  std::vector<crypto::Hash> TakeUnnamedChunks() { return std::exchange(unnamed_, {}); }

 private:
  explicit ObjectIndex(int64_t next_id) : next_id_(next_id) {}

  absl::Status Unname(sqlite::Database& db, int64_t object);
  absl::Status UnnameChunks(sqlite::Database& db, int64_t object, uint64_t from_seq);
  absl::Status PointStagedAt(sqlite::Database& db, std::string_view scope, std::string_view name,
                             int64_t object);
  absl::StatusOr<int64_t> NameKnownObject(sqlite::Database& db, const crypto::Hash& hash);

  int64_t
      next_id_;  // never reused while this lives, so that a writer notices that its upload ended
  std::vector<crypto::Hash> unnamed_;
};

}  // namespace corpgrid::objects
