#include "store/followed.h"

#include "base/status_macros.h"
#include "fmt/format.h"
#include "store/leader.h"

namespace corpgrid::store {

postgres::Statement AnnounceFollower(int64_t number, uint64_t batch, int64_t ms) {
  return {.sql = fmt::format("INSERT INTO followers(number, batch, until_ms) VALUES ($1, $2, {} + "
                             "$3) ON CONFLICT(number) DO UPDATE SET batch = excluded.batch, "
                             "until_ms = excluded.until_ms",
                             kNowMs),
          .parameters = {postgres::Parameter::Number(number),
                         postgres::Parameter::Number(static_cast<int64_t>(batch)),
                         postgres::Parameter::Number(ms)}};
}

postgres::Statement RemoveFollower(int64_t number) {
  return {.sql = "DELETE FROM followers WHERE number = $1",
          .parameters = {postgres::Parameter::Number(number)}};
}

absl::StatusOr<bool> HasFollowers(postgres::Connection& db) {
  bool has = false;
  RETURN_IF_ERROR(db.Ask(fmt::format("SELECT COUNT(*) FROM followers WHERE until_ms >= {}", kNowMs),
                         {}, [&](const Columns& columns) {
                           has = columns.Int(0) > 0;
                           return absl::OkStatus();
                         }));
  return has;
}

std::vector<postgres::Statement> PruneChanges() {
  return {
      {.sql = fmt::format("DELETE FROM followers WHERE until_ms < {}", kNowMs), .parameters = {}},
      {.sql = "DELETE FROM changes WHERE batch <= COALESCE((SELECT MIN(batch) FROM followers), "
              "batch)",
       .parameters = {}}};
}

}  // namespace corpgrid::store
