#include "objects/local_store.h"

#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "base/status_macros.h"
#include "base/text.h"
#include "fmt/format.h"
#include "objects/local_reader.h"
#include "objects/local_writer.h"

namespace corpgrid::objects {
namespace {

using sqlite::Blob;
using sqlite::Database;
using sqlite::Query;

absl::StatusOr<bool> AnyRow(absl::StatusOr<Query> query) {
  RETURN_IF_ERROR(query.status());
  return query->Next();
}

}  // namespace

absl::StatusOr<std::unique_ptr<LocalStore>> LocalStore::Open(const std::string& folder,
                                                             FileCalls calls) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return FileError(folder, "create the folder", error.value());
  ASSIGN_OR_RETURN(FileLock lock, FileLock::Take(folder + "/lock"));
  ASSIGN_OR_RETURN(Database db, Database::Open(folder + "/index.db"));
  ASSIGN_OR_RETURN(ObjectIndex index, ObjectIndex::Open(db));
  std::unique_ptr<LocalStore> store(
      new LocalStore(folder, std::move(lock), std::move(db), std::move(index), std::move(calls)));
  RETURN_IF_ERROR(store->chunks_.Prepare());
  RETURN_IF_ERROR(store->chunks_.Sweep());
  return store;
}

LocalStore::LocalStore(const std::string& folder, FileLock lock, Database db, ObjectIndex index,
                       FileCalls calls)
    : lock_(std::move(lock)),
      commit_(std::move(db)),
      index_(std::move(index)),
      readers_(folder + "/index.db"),
      chunks_(folder, std::move(calls),
              [this](const crypto::Hash& hash) { return IsChunkNamed(hash); }) {}

absl::Status LocalStore::Commit(const Change& change) {
  std::vector<crypto::Hash> unnamed;
  const absl::Status status = commit_.Run([&](Database& db) -> absl::Status {
    RETURN_IF_ERROR(change(db, index_));
    unnamed = index_.TakeUnnamedChunks();
    return absl::OkStatus();
  });
  if (status.ok()) chunks_.RemoveUnused(unnamed);
  return status;
}

absl::StatusOr<bool> LocalStore::IsChunkNamed(const crypto::Hash& hash) {
  ASSIGN_OR_RETURN(auto db, Reading());
  return AnyRow(db->Ask("SELECT 1 FROM chunks WHERE hash = ?", Blob{hash.Raw()}));
}

absl::StatusOr<bool> LocalStore::Exists(int64_t id) {
  ASSIGN_OR_RETURN(auto db, Reading());
  return AnyRow(db->Ask("SELECT 1 FROM objects WHERE id = ? AND hash IS NOT NULL", id));
}

absl::StatusOr<bool> LocalStore::Has(const crypto::Hash& hash) {
  ASSIGN_OR_RETURN(auto db, Reading());
  return AnyRow(db->Ask("SELECT 1 FROM objects WHERE hash = ?", Blob{hash.Raw()}));
}

absl::StatusOr<std::unique_ptr<StagedWriter>> LocalStore::OpenStaged(std::string_view scope,
                                                                     std::string_view name,
                                                                     uint64_t max_bytes) {
  {
    const std::lock_guard lock(mutex_);
    if (!open_writers_.emplace(scope, name).second) {
      return absl::FailedPreconditionError(
          fmt::format("{}: an upload of \"{}\" is being written already", scope, name));
    }
  }
  // From here on the writer's destructor tells when it is closed.
  auto writer = std::make_unique<LocalWriter>(this, std::string(scope), std::string(name));
  RETURN_IF_ERROR(writer->Resume(max_bytes));
  return writer;
}

void LocalStore::WriterClosed(const std::string& scope, const std::string& name) {
  const std::lock_guard lock(mutex_);
  open_writers_.erase({scope, name});
}

absl::StatusOr<std::vector<ObjectRef>> LocalStore::StageSmall(
    std::span<const SmallObject> objects) {
  std::vector<ObjectRef> refs;
  refs.reserve(objects.size());
  for (const SmallObject& object : objects) {
    if (object.data.size() > kSmallBytes) {
      return absl::InvalidArgumentError(
          fmt::format("{}: \"{}\" is {}; an object staged whole has at most {}", object.scope,
                      object.name, FormatBytes(object.data.size()), FormatBytes(kSmallBytes)));
    }
    refs.push_back({.hash = crypto::Blake3(object.data), .size_bytes = object.data.size()});
  }
  RETURN_IF_ERROR(Commit([&](Database& db, ObjectIndex& index) -> absl::Status {
    for (size_t i = 0; i < objects.size(); ++i) {
      RETURN_IF_ERROR(
          index.StageBytes(db, objects[i].scope, objects[i].name, refs[i].hash, objects[i].data));
    }
    return absl::OkStatus();
  }));
  return refs;
}

absl::StatusOr<std::vector<StagedObject>> LocalStore::Staged(std::string_view scope) {
  ASSIGN_OR_RETURN(auto db, Reading());
  ASSIGN_OR_RETURN(Query query,
                   db->Ask("SELECT name, hash, size FROM staged JOIN objects ON id = object "
                           "WHERE scope = ? AND hash IS NOT NULL ORDER BY name",
                           scope));
  std::vector<StagedObject> staged;
  for (;;) {
    ASSIGN_OR_RETURN(const bool more, query.Next());
    if (!more) return staged;
    ASSIGN_OR_RETURN(const crypto::Hash hash, crypto::Hash::FromRaw(query.Bytes(1)));
    staged.push_back({.name = std::string(query.Bytes(0)),
                      .object = {.hash = hash, .size_bytes = static_cast<uint64_t>(query.Int(2))}});
  }
}

absl::StatusOr<std::vector<std::string>> LocalStore::Scopes() {
  ASSIGN_OR_RETURN(auto db, Reading());
  ASSIGN_OR_RETURN(Query query, db->Ask("SELECT DISTINCT scope FROM staged ORDER BY scope"));
  std::vector<std::string> scopes;
  for (;;) {
    ASSIGN_OR_RETURN(const bool more, query.Next());
    if (!more) return scopes;
    scopes.emplace_back(query.Bytes(0));
  }
}

absl::StatusOr<uint64_t> LocalStore::StagedBytes(std::string_view scope, std::string_view name) {
  ASSIGN_OR_RETURN(auto db, Reading());
  ASSIGN_OR_RETURN(Query query,
                   db->Ask("SELECT (SELECT COUNT(*) FROM object_chunks WHERE object = id),"
                           "       (SELECT LENGTH(data) FROM blobs WHERE object = id) "
                           "FROM staged JOIN objects ON id = object "
                           "WHERE scope = ? AND name = ? AND hash IS NULL",
                           scope, name));
  ASSIGN_OR_RETURN(const bool found, query.Next());
  if (!found) return 0;
  const auto tail = static_cast<uint64_t>(query.Int(1));
  return static_cast<uint64_t>(query.Int(0)) * kChunkBytes +
         (tail > sizeof(crypto::Hash::bytes) ? tail - sizeof(crypto::Hash::bytes) : 0);
}

absl::Status LocalStore::Discard(std::string_view scope, std::string_view name) {
  return Commit([&](Database& db, ObjectIndex& index) { return index.Discard(db, scope, name); });
}

absl::Status LocalStore::Keep(std::span<const std::pair<std::string, std::string>> scopes) {
  if (scopes.empty()) return absl::OkStatus();
  return Commit([&](Database& db, ObjectIndex& index) -> absl::Status {
    for (const auto& [scope, owner] : scopes) RETURN_IF_ERROR(index.Keep(db, scope, owner));
    return absl::OkStatus();
  });
}

absl::Status LocalStore::Drop(std::span<const std::string> scopes) {
  if (scopes.empty()) return absl::OkStatus();
  return Commit([&](Database& db, ObjectIndex& index) -> absl::Status {
    for (const std::string& scope : scopes) RETURN_IF_ERROR(index.Drop(db, scope));
    return absl::OkStatus();
  });
}

// One step a name: owners may have kept millions of objects.
absl::StatusOr<std::vector<std::string>> LocalStore::Owners() {
  ASSIGN_OR_RETURN(auto db, Reading());
  std::vector<std::string> owners;
  for (std::string last;;) {
    ASSIGN_OR_RETURN(
        Query query,
        db->Ask("SELECT owner FROM kept WHERE owner > ? ORDER BY owner LIMIT 1", last));
    ASSIGN_OR_RETURN(const bool found, query.Next());
    if (!found) return owners;
    owners.push_back(last = query.Bytes(0));
  }
}

absl::StatusOr<bool> LocalStore::ReleaseSome(std::string_view owner) {
  bool more = false;
  RETURN_IF_ERROR(Commit([&](Database& db, ObjectIndex& index) -> absl::Status {
    ASSIGN_OR_RETURN(more, index.ReleaseSome(db, owner));
    return absl::OkStatus();
  }));
  return more;
}

absl::StatusOr<std::unique_ptr<ObjectReader>> LocalStore::Open(const crypto::Hash& hash,
                                                               uint64_t offset) {
  return LocalReader::Open(this, hash, offset);
}

absl::StatusOr<std::unique_ptr<ObjectStore>> OpenLocalStoreWith(const std::string& folder,
                                                                FileCalls calls) {
  return LocalStore::Open(folder, std::move(calls));
}

absl::StatusOr<std::unique_ptr<ObjectStore>> OpenLocalStore(const std::string& folder) {
  return LocalStore::Open(folder, FileCalls{});
}

}  // namespace corpgrid::objects
