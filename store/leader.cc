#include "store/leader.h"

#include <array>

#include "base/status_macros.h"
#include "fmt/format.h"

namespace corpgrid::store {
namespace {

using postgres::Connection;
using postgres::Parameter;
using postgres::Statement;

// A process id alone may be another session's by now.
constexpr std::string_view kStartUs = "(EXTRACT(EPOCH FROM backend_start) * 1000000)::bigint";
constexpr int kEndSessionMs = 5000;
constexpr std::string_view kRenewerName = "corpgrid renews its lead";

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

// First the one that renews: a renewal that waits for the row behind a commit would be let in else.
absl::Status EndLeadersSessions(Connection& db) {
  bool ended = true;
  RETURN_IF_ERROR(
      db.Ask(fmt::format("SELECT pg_terminate_backend(pid, {0}) FROM "
                         "(SELECT a.pid FROM pg_stat_activity a, leader l "
                         "WHERE a.pid <> pg_backend_pid() AND "
                         "((a.pid = l.backend_pid AND {1} = l.backend_start_us) OR "
                         "(a.datname = current_database() AND a.application_name = '{2}')) "
                         "ORDER BY a.application_name = '{2}' DESC OFFSET 0) leaders",
                         kEndSessionMs, kStartUs, kRenewerName),
             {}, [&](const Columns& columns) {
               ended = ended && columns.Int(0) != 0;
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
  RETURN_IF_ERROR(EndLeadersSessions(db));
  std::optional<int64_t> token;
  RETURN_IF_ERROR(
      db.Ask(fmt::format("UPDATE leader SET token = token + 1, shown = token + 1, renewed_ms = {}, "
                         "backend_pid = pg_backend_pid(), backend_start_us = (SELECT {} FROM "
                         "pg_stat_activity WHERE pid = pg_backend_pid()) "
                         "WHERE token = $1 AND ({} OR {} - renewed_ms >= {}) RETURNING token",
                         kNowMs, kStartUs, own.has_value(), kNowMs, kLeaseMs),
             std::array{leader.token}, [&](const Columns& columns) {
               token = columns.Int(0);
               return absl::OkStatus();
             }));
  if (token) return *token;
  return own ? deposed
             : absl::AlreadyExistsError(fmt::format(
                   "{}: another scheduler has just taken or renewed the lead of this grid",
                   db.name()));
}

absl::StatusOr<Connection> OpenRenewer(const std::string& url) {
  // An answer that comes after the lease has run out is of no use.
  ASSIGN_OR_RETURN(Connection db, Connection::Open(url, kLeaseMs));
  RETURN_IF_ERROR(db.RunScript(fmt::format("SET application_name = '{}'", kRenewerName)));
  return db;
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
