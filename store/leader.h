#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "store/postgres.h"

// One scheduler at a time writes to a PostgreSQL store: the one that knows the token of the leader
// row. The row has a constraint that it shows its token; whoever writes shows his, which locks the
// row and fails once another has raised the token. Merely reading the token would let the rows of a
// leader that slept land after its successor has loaded.
namespace corpgrid::store {

// A leader renews its lease this often; once it is older than kLeaseMs (by the server's clock),
// another may take over.
inline constexpr int64_t kRenewMs = 1000;
inline constexpr int64_t kLeaseMs = 3000;

// The step of the schema that made the leader row.
inline constexpr int64_t kLeaderStep = 5;

// The server's clock, in SQL.
inline constexpr std::string_view kNowMs = "(EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint";

// Makes the session the leader's: ends the sessions of the leader before, so that nothing of it is
// still on its way, and raises the token. Returns the new token. With `own`, the token of a leader
// whose session was lost, only if nobody else took over since (else Aborted); without, only if the
// lease of another has run out (else AlreadyExists). Other errors are the connection's.
absl::StatusOr<int64_t> TakeLeadership(postgres::Connection& db, std::optional<int64_t> own);

// A session for the leader to renew its lease with, beside the one that commits.
absl::StatusOr<postgres::Connection> OpenRenewer(const std::string& url);

// Shows the token and renews the lease: the first statement of every transaction.
postgres::Statement ShowToken(int64_t token);

// Lets the next one take over at once.
postgres::Statement GiveUp(int64_t token);

// Whether the last failure of `db` was that another has raised the token.
bool TokenWasRefused(const postgres::Connection& db);

}  // namespace corpgrid::store
