#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace corpgrid::audit {

// One line of the log: a JSON object for people and programs, the same bytes for the same event.
// All that is known of the event is in it, so that nothing stands beside the tree.
class Entry {
 public:
  // Longer texts are cut there: an entry must stay small, whatever a device says.
  static constexpr size_t kMaxText = 512;

  // `time_ms` is grid time, `wall_ms` what the scheduler's clock said.
  Entry(std::string_view event, int64_t time_ms, int64_t wall_ms);
  Entry& Add(std::string_view name, uint64_t value);
  // Bytes that are not UTF-8 become U+FFFD.
  Entry& Add(std::string_view name, std::string_view text);
  // {"event":"job ended","wall_ms":…,"time_ms":…, then what was added}
  std::string ToJson() const;

 private:
  std::vector<std::pair<std::string, std::variant<int64_t, uint64_t, std::string>>> fields_;
};

}  // namespace corpgrid::audit
