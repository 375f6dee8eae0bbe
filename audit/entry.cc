#include "audit/entry.h"

#include "nlohmann/json.hpp"

namespace corpgrid::audit {

Entry::Entry(std::string_view event, int64_t time_ms, int64_t wall_ms) {
  fields_.emplace_back("event", std::string(event));
  fields_.emplace_back("wall_ms", wall_ms);
  fields_.emplace_back("time_ms", time_ms);
}

Entry& Entry::Add(std::string_view name, uint64_t value) {
  fields_.emplace_back(name, value);
  return *this;
}

Entry& Entry::Add(std::string_view name, std::string_view text) {
  fields_.emplace_back(name, std::string(text.substr(0, kMaxText)));
  return *this;
}

std::string Entry::ToJson() const {
  nlohmann::ordered_json json;
  for (const auto& [name, value] : fields_) {
    std::visit([&value_of = json[name]](const auto& v) { value_of = v; }, value);
  }
  return json.dump(-1, ' ', /*ensure_ascii=*/false, nlohmann::json::error_handler_t::replace);
}

}  // namespace corpgrid::audit
