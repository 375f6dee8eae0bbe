#include "objects/object_index.h"

#include <utility>

#include "base/status_macros.h"
#include "fmt/format.h"

namespace corpgrid::objects {
namespace {

using sqlite::Blob;
using sqlite::Database;
using sqlite::Null;
using sqlite::Query;

constexpr int64_t kSchemaVersion = 1;
constexpr int kReleaseStep = 1000;  // objects a transaction, so that others get their turn

// The bytes of small objects have a table of their own, so that counting never rewrites them.
constexpr const char* kSchema = R"(
BEGIN;
CREATE TABLE objects(id INTEGER PRIMARY KEY, hash BLOB UNIQUE, size INTEGER NOT NULL,
                     refs INTEGER NOT NULL);
CREATE TABLE blobs(object INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE object_chunks(object INTEGER NOT NULL, seq INTEGER NOT NULL, chunk BLOB NOT NULL,
                           PRIMARY KEY(object, seq)) WITHOUT ROWID;
CREATE TABLE chunks(hash BLOB PRIMARY KEY, refs INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE staged(scope TEXT NOT NULL, name TEXT NOT NULL, object INTEGER NOT NULL,
                    PRIMARY KEY(scope, name)) WITHOUT ROWID;
CREATE TABLE kept(owner TEXT NOT NULL, object INTEGER NOT NULL,
                  PRIMARY KEY(owner, object)) WITHOUT ROWID;
PRAGMA user_version = 1;
COMMIT;
)";

absl::StatusOr<int64_t> OneNumber(Database& db, std::string_view sql) {
  ASSIGN_OR_RETURN(Query query, db.Ask(sql));
  RETURN_IF_ERROR(query.Next().status());
  return query.Int(0);
}

crypto::Hash HashOf(std::string_view raw) {
  return crypto::Hash::FromRaw(raw).value_or(crypto::Hash{});
}

struct StagedRow {
  int64_t object;
  bool complete;
};

absl::StatusOr<std::vector<StagedRow>> RowsOf(Database& db, std::string_view scope) {
  ASSIGN_OR_RETURN(Query query, db.Ask("SELECT object, hash IS NOT NULL FROM staged "
                                       "JOIN objects ON id = object WHERE scope = ?",
                                       scope));
  std::vector<StagedRow> rows;
  for (;;) {
    ASSIGN_OR_RETURN(const bool more, query.Next());
    if (!more) return rows;
    rows.push_back({.object = query.Int(0), .complete = query.Int(1) != 0});
  }
}

// 0 when there is none.
absl::StatusOr<int64_t> StagedAt(Database& db, std::string_view scope, std::string_view name) {
  ASSIGN_OR_RETURN(Query query,
                   db.Ask("SELECT object FROM staged WHERE scope = ? AND name = ?", scope, name));
  ASSIGN_OR_RETURN(const bool found, query.Next());
  return found ? query.Int(0) : 0;
}

}  // namespace

absl::StatusOr<ObjectIndex> ObjectIndex::Open(Database& db) {
  ASSIGN_OR_RETURN(const int64_t version, OneNumber(db, "PRAGMA user_version"));
  if (version > kSchemaVersion) {
    return absl::FailedPreconditionError(fmt::format(
        "the object index has version {}, this program knows up to {}: use a newer program",
        version, kSchemaVersion));
  }
  if (version == 0) RETURN_IF_ERROR(db.RunScript(kSchema));
  ASSIGN_OR_RETURN(const int64_t last, OneNumber(db, "SELECT COALESCE(MAX(id), 0) FROM objects"));
  return ObjectIndex(last + 1);
}

absl::StatusOr<int64_t> ObjectIndex::NameKnownObject(Database& db, const crypto::Hash& hash) {
  ASSIGN_OR_RETURN(Query query, db.Ask("UPDATE objects SET refs = refs + 1 WHERE hash = ? "
                                       "RETURNING id",
                                       Blob{hash.Raw()}));
  ASSIGN_OR_RETURN(const bool found, query.Next());
  if (!found) return 0;
  return query.Int(0);
}

absl::Status ObjectIndex::StageBytes(Database& db, std::string_view scope, std::string_view name,
                                     const crypto::Hash& hash, std::string_view data) {
  int64_t id = next_id_++;
  RETURN_IF_ERROR(
      db.Run("INSERT INTO objects(id, hash, size, refs) VALUES(?, ?, ?, 1) "
             "ON CONFLICT DO NOTHING",
             id, Blob{hash.Raw()}, data.size()));
  if (db.changed_rows() > 0) {
    RETURN_IF_ERROR(db.Run("INSERT INTO blobs(object, data) VALUES(?, ?)", id, Blob{data}));
  } else {
    ASSIGN_OR_RETURN(id, NameKnownObject(db, hash));
    // Bytes that rotted on the disk are made good by the next upload of the same.
    RETURN_IF_ERROR(
        db.Run("INSERT INTO blobs(object, data) VALUES(?, ?) ON CONFLICT(object) "
               "DO UPDATE SET data = excluded.data WHERE data <> excluded.data",
               id, Blob{data}));
  }
  return PointStagedAt(db, scope, name, id);
}

absl::Status ObjectIndex::PointStagedAt(Database& db, std::string_view scope, std::string_view name,
                                        int64_t object) {
  RETURN_IF_ERROR(
      db.Run("INSERT INTO staged(scope, name, object) VALUES(?, ?, ?) "
             "ON CONFLICT DO NOTHING",
             scope, name, object));
  if (db.changed_rows() > 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(const int64_t old, StagedAt(db, scope, name));
  RETURN_IF_ERROR(
      db.Run("UPDATE staged SET object = ? WHERE scope = ? AND name = ?", object, scope, name));
  return Unname(db, old);
}

absl::Status ObjectIndex::Discard(Database& db, std::string_view scope, std::string_view name) {
  ASSIGN_OR_RETURN(const int64_t object, StagedAt(db, scope, name));
  if (object == 0) return absl::OkStatus();
  RETURN_IF_ERROR(db.Run("DELETE FROM staged WHERE scope = ? AND name = ?", scope, name));
  return Unname(db, object);
}

absl::Status ObjectIndex::Unname(Database& db, int64_t object) {
  {
    ASSIGN_OR_RETURN(Query query, db.Ask("UPDATE objects SET refs = refs - 1 WHERE id = ? "
                                         "RETURNING refs",
                                         object));
    ASSIGN_OR_RETURN(const bool found, query.Next());
    if (!found || query.Int(0) > 0) return absl::OkStatus();
  }
  RETURN_IF_ERROR(UnnameChunks(db, object, 0));
  RETURN_IF_ERROR(db.Run("DELETE FROM blobs WHERE object = ?", object));
  return db.Run("DELETE FROM objects WHERE id = ?", object);
}

absl::Status ObjectIndex::UnnameChunks(Database& db, int64_t object, uint64_t from_seq) {
  std::vector<crypto::Hash> chunks;
  {
    ASSIGN_OR_RETURN(
        Query query,
        db.Ask("SELECT chunk FROM object_chunks WHERE object = ? AND seq >= ?", object, from_seq));
    for (;;) {
      ASSIGN_OR_RETURN(const bool more, query.Next());
      if (!more) break;
      chunks.push_back(HashOf(query.Bytes(0)));
    }
  }
  if (chunks.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(
      db.Run("DELETE FROM object_chunks WHERE object = ? AND seq >= ?", object, from_seq));
  for (const crypto::Hash& chunk : chunks) {
    RETURN_IF_ERROR(db.Run("UPDATE chunks SET refs = refs - 1 WHERE hash = ?", Blob{chunk.Raw()}));
    RETURN_IF_ERROR(db.Run("DELETE FROM chunks WHERE hash = ? AND refs <= 0", Blob{chunk.Raw()}));
    if (db.changed_rows() > 0) unnamed_.push_back(chunk);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<int64_t>> ObjectIndex::FindOrStartUpload(Database& db,
                                                                      std::string_view scope,
                                                                      std::string_view name) {
  {
    ASSIGN_OR_RETURN(Query query, db.Ask("SELECT object, hash IS NULL FROM staged "
                                         "JOIN objects ON id = object WHERE scope = ? AND name = ?",
                                         scope, name));
    ASSIGN_OR_RETURN(const bool found, query.Next());
    if (found && query.Int(1) != 0) return std::optional(query.Int(0));
    if (found) return std::optional<int64_t>();
  }
  const int64_t id = next_id_++;
  RETURN_IF_ERROR(db.Run("INSERT INTO objects(id, hash, size, refs) VALUES(?, NULL, 0, 1)", id));
  RETURN_IF_ERROR(PointStagedAt(db, scope, name, id));
  return std::optional(id);
}

absl::Status ObjectIndex::CheckUpload(Database& db, int64_t upload) {
  ASSIGN_OR_RETURN(Query query, db.Ask("SELECT 1 FROM objects WHERE id = ?", upload));
  ASSIGN_OR_RETURN(const bool found, query.Next());
  if (found) return absl::OkStatus();
  return absl::AbortedError("the upload was ended or replaced while it was being written");
}

absl::Status ObjectIndex::AddChunk(Database& db, int64_t upload, uint64_t seq,
                                   const crypto::Hash& chunk) {
  RETURN_IF_ERROR(
      db.Run("INSERT INTO chunks(hash, refs) VALUES(?, 1) "
             "ON CONFLICT(hash) DO UPDATE SET refs = refs + 1",
             Blob{chunk.Raw()}));
  return db.Run("INSERT INTO object_chunks(object, seq, chunk) VALUES(?, ?, ?)", upload, seq,
                Blob{chunk.Raw()});
}

absl::Status ObjectIndex::CutUpload(Database& db, int64_t upload, uint64_t seq) {
  RETURN_IF_ERROR(UnnameChunks(db, upload, seq));
  return SetTail(db, upload, "");
}

absl::Status ObjectIndex::SetTail(Database& db, int64_t upload, std::string_view tail) {
  if (tail.empty()) return db.Run("DELETE FROM blobs WHERE object = ?", upload);
  // Nothing else would notice a bit that flips in it before the upload goes on.
  std::string checked(crypto::Blake3(tail).Raw());
  checked += tail;
  return db.Run(
      "INSERT INTO blobs(object, data) VALUES(?, ?) ON CONFLICT(object) "
      "DO UPDATE SET data = excluded.data",
      upload, Blob{checked});
}

absl::Status ObjectIndex::CompleteUpload(Database& db, std::string_view scope,
                                         std::string_view name, int64_t upload,
                                         const ObjectRef& object) {
  ASSIGN_OR_RETURN(const int64_t known, NameKnownObject(db, object.hash));
  if (known != 0) return PointStagedAt(db, scope, name, known);
  RETURN_IF_ERROR(db.Run("DELETE FROM blobs WHERE object = ?", upload));
  return db.Run("UPDATE objects SET hash = ?, size = ? WHERE id = ?", Blob{object.hash.Raw()},
                object.size_bytes, upload);
}

absl::Status ObjectIndex::Keep(Database& db, std::string_view scope, std::string_view owner) {
  ASSIGN_OR_RETURN(const std::vector<StagedRow> rows, RowsOf(db, scope));
  for (const StagedRow& row : rows) {
    // The scope's count of the object becomes the owner's, unless the owner has one already.
    bool moved = false;
    if (row.complete) {
      RETURN_IF_ERROR(db.Run("INSERT INTO kept(owner, object) VALUES(?, ?) ON CONFLICT DO NOTHING",
                             owner, row.object));
      moved = db.changed_rows() > 0;
    }
    if (!moved) RETURN_IF_ERROR(Unname(db, row.object));
  }
  return rows.empty() ? absl::OkStatus() : db.Run("DELETE FROM staged WHERE scope = ?", scope);
}

absl::Status ObjectIndex::Drop(Database& db, std::string_view scope) {
  ASSIGN_OR_RETURN(const std::vector<StagedRow> rows, RowsOf(db, scope));
  for (const StagedRow& row : rows) RETURN_IF_ERROR(Unname(db, row.object));
  return rows.empty() ? absl::OkStatus() : db.Run("DELETE FROM staged WHERE scope = ?", scope);
}

absl::StatusOr<bool> ObjectIndex::ReleaseSome(Database& db, std::string_view owner) {
  std::vector<int64_t> objects;
  {
    ASSIGN_OR_RETURN(Query query,
                     db.Ask("SELECT object FROM kept WHERE owner = ? ORDER BY object LIMIT ?",
                            owner, kReleaseStep));
    for (;;) {
      ASSIGN_OR_RETURN(const bool more, query.Next());
      if (!more) break;
      objects.push_back(query.Int(0));
    }
  }
  if (objects.empty()) return false;
  for (const int64_t object : objects) RETURN_IF_ERROR(Unname(db, object));
  RETURN_IF_ERROR(
      db.Run("DELETE FROM kept WHERE owner = ? AND object <= ?", owner, objects.back()));
  return objects.size() == kReleaseStep;
}

}  // namespace corpgrid::objects
