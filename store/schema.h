#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace corpgrid::store {

// One step of the schema, in SQL that SQLite and PostgreSQL both take. A released step never
// changes; what comes later is a new step.
struct Migration {
  int64_t version;
  std::string_view sql;
};

// All steps, by version.
std::span<const Migration> Migrations();

// Those of `migrations` that a store of `version` (0: a new one) lacks. Errors: FailedPrecondition
// when it is newer than all of them.
absl::StatusOr<std::span<const Migration>> MissingSteps(std::span<const Migration> migrations,
                                                        int64_t version);

// The step together with the note that it was made; to be run in one transaction.
std::string ScriptOf(const Migration& step);

}  // namespace corpgrid::store
