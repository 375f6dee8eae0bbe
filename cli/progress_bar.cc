#include "cli/progress_bar.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "base/text.h"
#include "cli/table.h"
#include "fmt/format.h"

namespace corpgrid::cli {
namespace {

constexpr int64_t kRedrawMs = 100;
constexpr int64_t kLineMs = 3000;
constexpr int64_t kWindowMs = 30'000;
constexpr size_t kSamples = 256;
constexpr int kLineWidth = 1000;  // of a pipe: whoever reads it can wrap lines itself
constexpr int kWidestBar = 40;
constexpr int kNarrowestBar = 8;

int TerminalWidth(std::FILE* out, int fallback) {
  winsize size{};
  if (ioctl(fileno(out), TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return fallback;
  return size.ws_col;
}

bool EnvironmentHas(const char* name, std::string_view part) {
  const char* value = std::getenv(name);
  return value != nullptr && std::string_view(value).find(part) != std::string_view::npos;
}

bool Utf8Locale() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == '\0') continue;
    return EnvironmentHas(name, "UTF-8") || EnvironmentHas(name, "utf8");
  }
  return false;
}

std::string FormatCounts(Unit unit, const Progress& progress) {
  if (unit != Unit::kBytes) return fmt::format("{}/{}", progress.done, progress.total);
  if (progress.total == 0) return FormatBytes(progress.done);
  return fmt::format("{} of {}", FormatBytes(progress.done), FormatBytes(progress.total));
}

std::string FormatRate(Unit unit, double rate) {
  if (unit == Unit::kBytes) return fmt::format("{}/s", FormatBytes(static_cast<uint64_t>(rate)));
  const std::string_view what = unit == Unit::kRows ? "rows" : "shards";
  if (rate >= 10) return fmt::format("{:.0f} {}/s", rate, what);
  if (rate >= 1) return fmt::format("{:.1f} {}/s", rate, what);
  return fmt::format("{:.1f} {}/min", rate * 60, what);
}

std::string FormatRemaining(int64_t ms) {
  if (ms < 60'000) return fmt::format("{} s left", (ms + 999) / 1000);
  return fmt::format("{} left", FormatDuration(ms));
}

std::string Bar(double fraction, int width, const BarStyle& style) {
  const int full = static_cast<int>(std::lround(fraction * width));
  const std::string_view on = style.unicode ? "━" : "#";
  const std::string_view off = style.unicode ? "─" : "-";
  std::string bar = style.color ? "\x1b[32m" : "";
  for (int i = 0; i < full; ++i) bar += on;
  if (style.color) bar += "\x1b[90m";
  for (int i = full; i < width; ++i) bar += off;
  if (style.color) bar += "\x1b[0m";
  return bar;
}

}  // namespace

BarStyle DetectStyle(std::FILE* out) {
  BarStyle style;
  const char* term = std::getenv("TERM");
  style.terminal = isatty(fileno(out)) == 1 && term != nullptr && std::string_view(term) != "dumb";
  const char* no_color = std::getenv("NO_COLOR");
  style.color = style.terminal && (no_color == nullptr || *no_color == '\0');
  style.unicode = Utf8Locale();
  style.width = style.terminal ? TerminalWidth(out, style.width) : kLineWidth;
  return style;
}

std::string RenderBar(std::string_view title, Unit unit, const Progress& progress, double rate,
                      int64_t remaining_ms, const BarStyle& style) {
  const double fraction = std::clamp(progress.fraction, 0.0, 1.0);
  // Nothing is called 100% before it is done.
  const int most = progress.done < progress.total ? 99 : 100;
  const int percent = std::min(static_cast<int>(fraction * 100), most);
  std::vector<std::string> parts;
  if (unit != Unit::kPercent) parts.push_back(FormatCounts(unit, progress));
  if (progress.total > 0) parts.push_back(fmt::format("{:3}%", percent));
  if (rate > 0 && unit != Unit::kPercent) parts.push_back(FormatRate(unit, rate));
  if (remaining_ms >= 0) parts.push_back(FormatRemaining(remaining_ms));

  std::string head = Printable(title);
  const auto text_width = [&] {
    size_t width = DisplayWidth(head);
    for (const std::string& part : parts) width += 2 + DisplayWidth(part);
    return static_cast<int>(width);
  };
  // One column stays free: a full last column makes some terminals wrap.
  const int room = style.width - 1;
  while (parts.size() > 1 && text_width() > room) parts.pop_back();
  if (text_width() > room) head.clear();

  const int bar_width = std::min(room - text_width() - 2, kWidestBar);
  std::string line = head;
  const auto append = [&line](const std::string& part) {
    if (!line.empty()) line += "  ";
    line += part;
  };
  const bool has_bar = style.terminal && bar_width >= kNarrowestBar && progress.total > 0;
  if (has_bar) append(Bar(fraction, bar_width, style));
  for (const std::string& part : parts) append(part);
  return line;
}

ProgressBar::ProgressBar(std::string title, Unit unit, std::FILE* out, const BarStyle& style,
                         int64_t delay_ms, const Clock& clock)
    : title_(std::move(title)),
      unit_(unit),
      out_(out),
      style_(style),
      clock_(clock),
      first_draw_ms_(clock.MonotonicMs() + delay_ms) {}

ProgressBar::~ProgressBar() { Finish(); }

void ProgressBar::Update(const Progress& progress) {
  const std::lock_guard lock(mutex_);
  progress_ = progress;
  const int64_t now = clock_.MonotonicMs();
  if (samples_.empty() || now - samples_.back().time_ms >= kRedrawMs) {
    samples_.push_back({now, progress.fraction, progress.done});
  }
  while (samples_.size() > 2 &&
         (samples_.size() > kSamples || now - samples_.front().time_ms > kWindowMs)) {
    samples_.pop_front();
  }
  Draw(false);
}

void ProgressBar::Tick() {
  const std::lock_guard lock(mutex_);
  Draw(false);
}

void ProgressBar::Note(std::string_view text) {
  const std::lock_guard lock(mutex_);
  if (shown_ && style_.terminal) Write("\r\x1b[K");
  Write(fmt::format("{}\n", text));
  last_line_.clear();
  if (shown_) Draw(true);
}

void ProgressBar::Finish() {
  const std::lock_guard lock(mutex_);
  if (!finished_ && shown_ && style_.terminal) Write("\r\x1b[K");
  finished_ = true;
}

void ProgressBar::Draw(bool force) {
  const int64_t now = clock_.MonotonicMs();
  if (finished_ || now < first_draw_ms_) return;
  const int64_t pause_ms = style_.terminal ? kRedrawMs : kLineMs;
  if (!force && last_draw_ms_ >= 0 && now - last_draw_ms_ < pause_ms) return;
  const std::string line = Line();
  if (line == last_line_) return;
  // One write for erasing and drawing, so that no half-drawn line is ever seen.
  Write(style_.terminal ? fmt::format("\r{}\x1b[K", line) : line + "\n");
  last_line_ = line;
  last_draw_ms_ = now;
  shown_ = true;
}

std::string ProgressBar::Line() const {
  double rate = -1;
  int64_t remaining_ms = -1;
  if (samples_.size() >= 2) {
    const Sample& first = samples_.front();
    const double elapsed_ms = static_cast<double>(clock_.MonotonicMs() - first.time_ms);
    if (elapsed_ms >= 500 && progress_.done > first.done) {
      rate = static_cast<double>(progress_.done - first.done) * 1000 / elapsed_ms;
    }
    const double gained = progress_.fraction - first.fraction;
    if (elapsed_ms >= 500 && gained > 0 && progress_.done < progress_.total) {
      remaining_ms = static_cast<int64_t>((1 - progress_.fraction) / gained * elapsed_ms);
    }
  }
  BarStyle style = style_;
  if (style.terminal) style.width = TerminalWidth(out_, style.width);  // it may have changed
  return RenderBar(title_, unit_, progress_, rate, remaining_ms, style);
}

void ProgressBar::Write(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), out_);
  std::fflush(out_);
}

}  // namespace corpgrid::cli
