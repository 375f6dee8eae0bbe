#pragma once

#include <cstdint>
#include <cstdio>
#include <deque>
#include <mutex>
#include <string>
#include <string_view>

#include "base/clock.h"

namespace corpgrid::cli {

// How far a piece of work is.
struct Progress {
  uint64_t done = 0;
  uint64_t total = 0;   // 0: nobody knows yet
  double fraction = 0;  // 0..1; more than done/total when what runs tells how far it is
};

// How a line of progress looks where it is written.
struct BarStyle {
  bool terminal = false;  // redrawn in place; otherwise whole lines, seldom
  bool color = false;
  bool unicode = false;
  int width = 80;
};

// What `out` can show: asks the terminal, NO_COLOR, TERM and the locale.
BarStyle DetectStyle(std::FILE* out);

enum class Unit { kShards, kRows, kBytes, kPercent };

// One line: title, bar, counts, percent, rate (a second) and remaining time, as many of them as fit
// into style.width. `rate` is of `done`, negative when unknown, as is `remaining_ms`.
std::string RenderBar(std::string_view title, Unit unit, const Progress& progress, double rate,
                      int64_t remaining_ms, const BarStyle& style);

// Shows how far some work is: a bar redrawn in place, at most ten times a second, or in a pipe a
// line at most every three seconds. All methods: any thread.
class ProgressBar {
 public:
  // Shows nothing before `delay_ms` have passed, so that quick work stays silent. `out` and `clock`
  // must outlive the bar.
  ProgressBar(std::string title, Unit unit, std::FILE* out, const BarStyle& style,
              int64_t delay_ms = 0, const Clock& clock = SystemClock());
  ~ProgressBar();

  void Update(const Progress& progress);
  // Draws anew where time alone changed something.
  void Tick();
  // Writes a line above the bar.
  void Note(std::string_view text);
  // Takes the bar off the terminal; nothing is drawn after it.
  void Finish();

 private:
  struct Sample {
    int64_t time_ms;
    double fraction;
    uint64_t done;
  };

  void Draw(bool force);
  std::string Line() const;
  void Write(const std::string& text);

  const std::string title_;
  const Unit unit_;
  std::FILE* const out_;
  const BarStyle style_;
  const Clock& clock_;
  const int64_t first_draw_ms_;

  std::mutex mutex_;
  Progress progress_;
  std::deque<Sample> samples_;  // the last half minute, at most kSamples
  int64_t last_draw_ms_ = -1;
  std::string last_line_;
  bool shown_ = false;
  bool finished_ = false;
};

}  // namespace corpgrid::cli
