#include "base/clock.h"

#include <chrono>

namespace corpgrid {
namespace {

class MachineClock final : public Clock {
 public:
  int64_t MonotonicMs() const override { return Ms(std::chrono::steady_clock::now()); }
  int64_t MonotonicUs() const override {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::microseconds>(now).count();
  }
  int64_t WallMs() const override { return Ms(std::chrono::system_clock::now()); }

 private:
  template <typename T>
  static int64_t Ms(T t) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(t.time_since_epoch()).count();
  }
};

}  // namespace

const Clock& SystemClock() {
  static const MachineClock clock;
  return clock;
}

}  // namespace corpgrid
