#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "cli/progress_bar.h"

namespace corpgrid::cli {

// How far one piece of work after the other is, on stderr. One thread.
class WorkBar {
 public:
  void Show(std::string_view what, double fraction) {
    if (!bar_ || what != what_) {
      bar_.reset();
      what_ = what;
      bar_ = std::make_unique<ProgressBar>(what_, Unit::kPercent, stderr, DetectStyle(stderr),
                                           kQuietMs);
    }
    bar_->Update(
        {.done = static_cast<uint64_t>(fraction * kSteps), .total = kSteps, .fraction = fraction});
  }
  void Finish() { bar_.reset(); }

 private:
  static constexpr int64_t kQuietMs = 500;
  static constexpr uint64_t kSteps = 100;

  std::string what_;
  std::unique_ptr<ProgressBar> bar_;
};

}  // namespace corpgrid::cli
