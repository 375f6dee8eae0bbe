#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "crypto/hash.h"

namespace corpgrid::objects {

struct ObjectRef {
  crypto::Hash hash;
  uint64_t size_bytes = 0;

  bool operator==(const ObjectRef&) const = default;
};

// A complete upload that nobody has kept yet.
struct StagedObject {
  std::string name;
  ObjectRef object;
};

// A small object, staged whole. The views must stay valid during the call.
struct SmallObject {
  std::string_view scope;
  std::string_view name;
  std::string_view data;
};

// One upload in progress. One thread at a time. Destroying it keeps what was appended, so that it
// can be resumed; a crash may lose the last few MiB, which offset() then tells. After an error it
// is of no more use: destroy it and open the upload anew. Errors of all methods: Aborted when its
// scope was ended or its name staged anew meanwhile.
class StagedWriter {
 public:
  virtual ~StagedWriter() = default;
  // Bytes that are already here, from this writer or an interrupted one before it.
  virtual uint64_t offset() const = 0;
  // Errors: ResourceExhausted when `max_bytes` would be exceeded or the disk is full.
  virtual absl::Status Append(std::string_view data) = 0;
  // Completes the upload; what it returns is durable. The hash is computed here, over what arrived.
  virtual absl::StatusOr<ObjectRef> Finish() = 0;
};

// A verified stream of one object. One thread at a time.
class ObjectReader {
 public:
  virtual ~ObjectReader() = default;
  virtual uint64_t size_bytes() const = 0;
  // The next bytes, at most a chunk; empty at the end. Each chunk is checked against its hash
  // before any of it is handed out. Errors: DataLoss when the stored bytes are not what was put,
  // NotFound when the object was deleted meanwhile.
  virtual absl::StatusOr<std::string> Next() = 0;
};

// Content-addressed bytes: an object is named by the BLAKE3 hash of its content and is stored in
// deduplicated chunks, each with a hash of its own. Bytes arrive in a *scope* (an attempt, an
// upload of a user) that bounds them and that is either kept under an *owner* ("job-7") or dropped;
// what neither a scope nor an owner names is deleted. All methods: any thread. Writers and readers
// must not outlive their store.
class ObjectStore {
 public:
  static constexpr uint64_t kChunkBytes = 1 << 20;
  static constexpr uint64_t kSmallBytes =
      64 << 10;  // up to this an object is kept in the index itself

  virtual ~ObjectStore() = default;

  // Starts or resumes the upload of `name` within `scope`, at most `max_bytes` long.
  // Errors: AlreadyExists when it is complete, FailedPrecondition when a writer for it is open.
  virtual absl::StatusOr<std::unique_ptr<StagedWriter>> OpenStaged(std::string_view scope,
                                                                   std::string_view name,
                                                                   uint64_t max_bytes) = 0;

  // Stages many small objects (each <= kSmallBytes) in one durable step: all of them or, on an
  // error, none. An object that is staged again under the same scope and name with the same bytes
  // is no error; other bytes replace the old.
  virtual absl::StatusOr<std::vector<ObjectRef>> StageSmall(
      std::span<const SmallObject> objects) = 0;

  // The complete uploads of `scope`, by name.
  virtual absl::StatusOr<std::vector<StagedObject>> Staged(std::string_view scope) = 0;

  // Every scope that has anything staged: what a restart has to look through.
  virtual absl::StatusOr<std::vector<std::string>> Scopes() = 0;

  // Bytes of `name` that an interrupted upload left, 0 when there is none or it is complete.
  virtual absl::StatusOr<uint64_t> StagedBytes(std::string_view scope, std::string_view name) = 0;

  // Deletes one upload of a scope, complete or not. Idempotent, durable on return.
  virtual absl::Status Discard(std::string_view scope, std::string_view name) = 0;

  // For each (scope, owner): keeps the complete objects of the scope under the owner and ends the
  // scope. Idempotent. Durable on return, all together.
  virtual absl::Status Keep(std::span<const std::pair<std::string, std::string>> scopes) = 0;

  // Ends scopes, deleting what nothing else names. Idempotent, durable on return.
  virtual absl::Status Drop(std::span<const std::string> scopes) = 0;

  // Everybody under whom anything is kept.
  virtual absl::StatusOr<std::vector<std::string>> Owners() = 0;

  // Forgets some of what `owner` kept, deleting what nothing else names: true when there may be
  // more. Durable on return.
  virtual absl::StatusOr<bool> ReleaseSome(std::string_view owner) = 0;
  // Forgets all of it.
  absl::Status Release(std::string_view owner);

  // Reads from byte `offset` on. Errors: NotFound, OutOfRange when the object is shorter.
  virtual absl::StatusOr<std::unique_ptr<ObjectReader>> Open(const crypto::Hash& hash,
                                                             uint64_t offset) = 0;

  virtual absl::StatusOr<bool> Has(const crypto::Hash& hash) = 0;
};

// The bytes of an object, for callers who know that they are few. Errors: those of Open and Next.
absl::StatusOr<std::string> ReadWhole(ObjectStore* store, const crypto::Hash& hash);

// A store in a local folder: `index.db` (SQLite, synchronous=FULL) names every object and holds the
// small ones, `chunks/` the chunks of the large ones. Crash-safe: a chunk is on disk before the
// index names it; on opening, files that the index does not name are deleted. Concurrent durable
// calls share one commit. What rotted on the disk is made good when the same bytes are stored
// again. The folder is created when it does not exist. One process at a time (FailedPrecondition
// otherwise). Errors of all methods, beside their own: ResourceExhausted when the disk is full,
// Unavailable when it fails otherwise.
absl::StatusOr<std::unique_ptr<ObjectStore>> OpenLocalStore(const std::string& folder);

}  // namespace corpgrid::objects
