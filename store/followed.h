#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "store/postgres.h"
#include "store/row_values.h"
#include "store/tables.h"

// What a leader's PostgreSQL store writes down for those that follow it (store/follower.h), and how
// it knows that somebody does.
namespace corpgrid::store {

// What a commit changed; kept until all followers have read it.
struct ChangeRow {
  uint64_t batch = 0;
  std::string rows;  // store/changes.h
};

template <>
inline constexpr Table kTable<ChangeRow> = {
    .name = "changes", .key = "batch", .columns = "batch, rows"};

template <typename Use>
auto WithValues(const ChangeRow& row, const Use& use) {
  return use(row.batch, Blob{row.rows});
}

// The number of the last commit, and what each commit after batch $1 changed (null when none is
// there), in order; as of one moment.
inline constexpr std::string_view kSelectChanges =
    "SELECT m.batch, c.batch, c.rows FROM meta m LEFT JOIN changes c ON c.batch > $1 ORDER BY 2";

// Follower `number` has read up to `batch`, and is there for `ms`.
postgres::Statement AnnounceFollower(int64_t number, uint64_t batch, int64_t ms);
postgres::Statement RemoveFollower(int64_t number);

// Whether anybody follows.
absl::StatusOr<bool> HasFollowers(postgres::Connection& db);

// Deletes followers that are gone, and what those that are there have read.
std::vector<postgres::Statement> PruneChanges();

}  // namespace corpgrid::store
