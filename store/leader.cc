#include "store/leader.h"

#include <array>

#include "base/status_macros.h"
#include "fmt/format.h"

namespace corpgrid::store {
namespace {

using postgres::Connection;
using postgres::Parameter;
using postgres::Statement;

constexpr std::string_view kNowMs = "(EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint";
// A process id alone may be another session's by now.
constexpr std::string_view kStartUs = "(EXTRACT(EPOCH FROM backend_start) * 1000000)::bigint";
constexpr int kEndSessionMs = 5000;

struct Leader {
  int64_t token = 0;
  int64_t lease_age_ms = 0;
};

absl::StatusOr<Leader> ReadLeader(Connection& db) {
  std::optional<Leader> leader;
  RETURN_IF_ERROR(db.Ask(fmt::format("SELECT token, {} - renewed_ms FROM leader", kNowMs), {},
                         [&](const Columns& columns) {
                           leader = {.token = columns.Int(0), .lease_age_ms = columns.Int(1)};
                           return absl::OkStatus();
                         }));
  if (!leader) {
    return absl::DataLossError(fmt::format("{}: the store has lost its leader row", db.name()));
  }
  return *leader;
}

absl::Status EndLeadersSession(Connection& db) {
  bool ended = true;
  RETURN_IF_ERROR(db.Ask(
      fmt::format("SELECT pg_terminate_backend(a.pid, {}) FROM pg_stat_activity a JOIN leader l "
                  "ON a.pid = l.backend_pid AND {} = l.backend_start_us "
                  "WHERE a.pid <> pg_backend_pid()",
                  kEndSessionMs, kStartUs),
      {}, [&](const Columns& columns) {
        ended = columns.Int(0) != 0;
        return absl::OkStatus();
      }));
  if (ended) return absl::OkStatus();
  return absl::UnavailableError(fmt::format(
      "{}: the session of the scheduler that led before does not end; try again", db.name()));
}

}  // namespace

absl::StatusOr<int64_t> TakeLeadership(Connection& db, std::optional<int64_t> own) {
  ASSIGN_OR_RETURN(const Leader leader, ReadLeader(db));
  if (!own && leader.lease_age_ms < kLeaseMs) {
    return absl::AlreadyExistsError(
        fmt::format("{}: another scheduler leads this grid; it showed itself {} ms ago", db.name(),
                    leader.lease_age_ms));
  }
  const absl::Status deposed =
      absl::AbortedError(fmt::format("{}: another scheduler leads this grid now", db.name()));
  if (own && leader.token != *own) return deposed;
  RETURN_IF_ERROR(EndLeadersSession(db));
  std::optional<int64_t> token;
  RETURN_IF_ERROR(
      db.Ask(fmt::format("UPDATE leader SET token = token + 1, shown = token + 1, renewed_ms = {}, "
                         "backend_pid = pg_backend_pid(), backend_start_us = (SELECT {} FROM "
                         "pg_stat_activity WHERE pid = pg_backend_pid()) "
                         "WHERE token = $1 RETURNING token",
                         kNowMs, kStartUs),
             std::array{leader.token}, [&](const Columns& columns) {
               token = columns.Int(0);
               return absl::OkStatus();
             }));
  if (token) return *token;
  return own ? deposed
             : absl::AlreadyExistsError(fmt::format(
                   "{}: another scheduler has just taken the lead of this grid", db.name()));
}

Statement ShowToken(int64_t token) {
  return {.sql = fmt::format("UPDATE leader SET shown = $1, renewed_ms = {} WHERE id = 1", kNowMs),
          .parameters = {Parameter::Number(token)}};
}

Statement GiveUp(int64_t token) {
  return {.sql = "UPDATE leader SET shown = $1, renewed_ms = 0 WHERE id = 1",
          .parameters = {Parameter::Number(token)}};
}

bool TokenWasRefused(const Connection& db) {
  return db.broken_constraint() == "leader_shows_its_token";
}

}  // namespace corpgrid::store
