#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>

#include "absl/synchronization/notification.h"
#include "base/clock.h"
#include "inference/test_decoder.h"

// Parts of a model that take their time.
namespace corpgrid::worker {

// Goes on by as much as it is told.
class SetClock final : public Clock {
 public:
  int64_t MonotonicMs() const override { return SystemClock().MonotonicMs() + later_ms; }
  int64_t WallMs() const override { return 0; }

  std::atomic<int64_t> later_ms = 0;
};

// Its filters and its decoder take their time: `begun` when asked, until `may_end`.
struct Slow {
  absl::Notification begun, may_end;
  void Take() {
    begun.Notify();
    may_end.WaitForNotification();
  }
};

class SlowFilter final : public inference::TokenFilter {
 public:
  explicit SlowFilter(Slow* slow) : slow_(slow) {}
  bool Allows(inference::Token) override { return true; }
  void Mask(std::span<float>) override {}
  absl::Status Accept(inference::Token) override {
    slow_->Take();
    return absl::CancelledError("that was enough");
  }
  size_t bytes() const override { return 1; }

 private:
  Slow* const slow_;
};

class SlowVocabulary final : public inference::TestVocabulary {
 public:
  explicit SlowVocabulary(Slow* slow) : slow_(slow) {}
  absl::StatusOr<std::unique_ptr<inference::TokenFilter>> MakeFilter(const std::string&,
                                                                     bool) const override {
    return std::make_unique<SlowFilter>(slow_);
  }

 private:
  Slow* const slow_;
};

class SlowDecoder final : public inference::TestDecoder {
 public:
  SlowDecoder(inference::KvShape shape, Slow* slow) : TestDecoder(shape), slow_(slow) {}
  absl::Status Decode(std::span<const inference::Row> rows) override {
    slow_->Take();
    return TestDecoder::Decode(rows);
  }

 private:
  Slow* const slow_;
};

}  // namespace corpgrid::worker
