#include "store/open.h"

#include "store/postgres_store.h"
#include "store/sqlite_store.h"

namespace corpgrid::store {

absl::StatusOr<std::unique_ptr<Store>> OpenSqlite(const std::string& path) {
  return SqliteStore::Open(path);
}

absl::StatusOr<std::unique_ptr<Store>> OpenPostgres(const std::string& url, Follower* follower) {
  return PostgresStore::Open(url, follower);
}

bool IsPostgresUrl(std::string_view store) {
  return store.starts_with("postgres://") || store.starts_with("postgresql://");
}

absl::StatusOr<std::unique_ptr<SqlStore>> OpenSql(const std::string& path_or_url) {
  if (IsPostgresUrl(path_or_url)) return PostgresStore::Open(path_or_url, nullptr);
  return SqliteStore::Open(path_or_url);
}

absl::StatusOr<std::unique_ptr<Store>> Open(const std::string& path_or_url, Follower* follower) {
  return IsPostgresUrl(path_or_url) ? OpenPostgres(path_or_url, follower) : OpenSqlite(path_or_url);
}

}  // namespace corpgrid::store
