#pragma once

#include <memory>
#include <string>

#include "store/sql_store.h"

namespace corpgrid::store {

// As Open (store/store.h), with what copying needs beside.
absl::StatusOr<std::unique_ptr<SqlStore>> OpenSql(const std::string& path_or_url);

}  // namespace corpgrid::store
