#include "store/tables.h"

#include <vector>

#include "fmt/format.h"

namespace corpgrid::store {
namespace {

std::vector<std::string_view> Split(std::string_view columns) {
  constexpr std::string_view kBetween = ", ";
  std::vector<std::string_view> names;
  for (size_t at = 0; at <= columns.size();) {
    const size_t end = std::min(columns.find(kBetween, at), columns.size());
    names.push_back(columns.substr(at, end - at));
    at = end + kBetween.size();
  }
  return names;
}

}  // namespace

std::string Prefixed(std::string_view prefix, std::string_view columns) {
  std::string text;
  for (const std::string_view name : Split(columns)) {
    text += fmt::format("{}{}{}", text.empty() ? "" : ", ", prefix, name);
  }
  return text;
}

std::string UpsertSql(const Table& table, std::string_view source) {
  const std::string insert =
      fmt::format("INSERT INTO {}({}) {}", table.name, table.columns, source);
  if (table.append_only) return insert;
  const std::vector<std::string_view> key = Split(table.key);
  std::string changes;
  for (const std::string_view name : Split(table.columns)) {
    if (std::find(key.begin(), key.end(), name) != key.end()) continue;
    changes += fmt::format("{}{} = excluded.{}", changes.empty() ? "" : ", ", name, name);
  }
  return fmt::format("{} ON CONFLICT({}) DO UPDATE SET {}", insert, table.key, changes);
}

}  // namespace corpgrid::store
