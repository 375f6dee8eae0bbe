#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "store/columns.h"

namespace corpgrid::store {

// One step of the schema, in SQL that SQLite and PostgreSQL both take. A released step never
// changes; what comes later is a new step.
struct Migration {
  int64_t version;
  std::string_view sql;
  // Programs that know the steps up to this one run on a store that has this step as well: it adds
  // what they need not know. 0: none does, the store is for programs that know the step.
  int64_t oldest_reader = 0;
};

// A step that a store has.
struct AppliedStep {
  int64_t version = 0;
  int64_t oldest_reader = 0;  // as above
};

// All steps, by version.
std::span<const Migration> Migrations();

// The version of the newest step that this program knows.
int64_t SchemaVersion();

// The steps that a store has; none of a new one. `select_tables` asks for the names of its tables.
// Errors: FailedPrecondition when it is another program's; those of `ask`.
using AskStore = std::function<absl::Status(std::string_view sql, const OnRow&)>;
absl::StatusOr<std::vector<AppliedStep>> ReadAppliedSteps(std::string_view select_tables,
                                                          const AskStore& ask);

// Those of `migrations` that a store lacks which has `applied`, also where it has later ones: what
// was merged late is made late. Errors: FailedPrecondition when it has steps that are none of
// `migrations` and do not suit a program that does not know them.
absl::StatusOr<std::vector<Migration>> MissingSteps(std::span<const Migration> migrations,
                                                    std::span<const AppliedStep> applied);

// The step together with the note that it was made; to be run in one transaction.
std::string ScriptOf(const Migration& step);

}  // namespace corpgrid::store
