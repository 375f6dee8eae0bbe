#pragma once

#include <array>
#include <bitset>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace corpgrid::agent {

// When an owner lends a device, by the machine's own clock. Immutable; any thread.
class Hours {
 public:
  // Always.
  Hours() = default;

  // In any of `windows`: "18:00-08:00" (into the next day), "mon-fri 18:00-08:00", "sat,sun"; none:
  // always. Errors: InvalidArgument, with what is wrong with which one.
  static absl::StatusOr<Hours> Parse(const std::vector<std::string>& windows);

  // At that minute of that day; Sunday is 0, as in struct tm.
  bool Include(int weekday, int minute) const;

  // "mon-fri 18:00-08:00; sat,sun".
  const std::string& text() const { return text_; }

 private:
  static constexpr int kMinutesADay = 24 * 60;

  absl::Status AddWindow(const std::string& window);

  bool always_ = true;
  std::array<std::bitset<kMinutesADay>, 7> open_;
  std::string text_;
};

}  // namespace corpgrid::agent
