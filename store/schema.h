#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace corpgrid::store {

// One step of the schema, in SQL that SQLite and PostgreSQL both take. A released step never
// changes; what comes later is a new step.
struct Migration {
  int64_t version;
  std::string_view sql;
};

// All steps, by version.
std::span<const Migration> Migrations();

}  // namespace corpgrid::store
