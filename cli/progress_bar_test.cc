#include "cli/progress_bar.h"

#include <cstdlib>

#include "base/testing/manual_clock.h"
#include "cli/table.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::cli {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// A file in memory that remembers all that was written.
class Memory {
 public:
  Memory() : file_(open_memstream(&data_, &size_)) {}
  ~Memory() {
    std::fclose(file_);
    std::free(data_);
  }
  std::FILE* file() { return file_; }
  std::string text() {
    std::fflush(file_);
    return std::string(data_, size_);
  }

 private:
  char* data_ = nullptr;
  size_t size_ = 0;
  std::FILE* file_;
};

const BarStyle kPlain{.terminal = true, .color = false, .unicode = false, .width = 100};

TEST(RenderBar, SaysEverythingWhereThereIsRoom) {
  const Progress progress{.done = 32, .total = 64, .fraction = 0.5};
  EXPECT_EQ(
      RenderBar("render", Unit::kShards, progress, 3.14, 10'200, kPlain),
      "render  ####################--------------------  32/64   50%  3.1 shards/s  11 s left");
}

TEST(RenderBar, NeverFillsTheLastColumnAndDropsTheLeastNeededFirst) {
  const Progress progress{.done = 32, .total = 64, .fraction = 0.5};
  size_t widest = 0;
  for (int width = 12; width < 120; ++width) {
    BarStyle style = kPlain;
    style.width = width;
    const std::string line = RenderBar("render", Unit::kShards, progress, 3.14, 10'200, style);
    EXPECT_LT(DisplayWidth(line), static_cast<size_t>(width)) << line;
    EXPECT_THAT(line, HasSubstr("32/64"));
    EXPECT_GE(line.size() + 12, widest) << "a wider terminal shows hardly less";
    widest = std::max(widest, line.size());
  }
}

TEST(RenderBar, RunningShardsCountButOnlyDoneIsHundredPercent) {
  EXPECT_THAT(
      RenderBar("j", Unit::kShards, {.done = 0, .total = 4, .fraction = 0.125}, -1, -1, kPlain),
      HasSubstr(" 12%"));
  EXPECT_THAT(
      RenderBar("j", Unit::kShards, {.done = 3, .total = 4, .fraction = 1.0}, -1, -1, kPlain),
      HasSubstr(" 99%"));
  EXPECT_THAT(
      RenderBar("j", Unit::kShards, {.done = 4, .total = 4, .fraction = 1.0}, -1, -1, kPlain),
      HasSubstr("100%"));
}

TEST(RenderBar, ColorsOnlyWhenAsked) {
  BarStyle style = kPlain;
  const Progress progress{.done = 1, .total = 2, .fraction = 0.5};
  EXPECT_THAT(RenderBar("j", Unit::kShards, progress, -1, -1, style), Not(HasSubstr("\x1b")));
  style.color = true;
  EXPECT_THAT(RenderBar("j", Unit::kShards, progress, -1, -1, style), HasSubstr("\x1b[32m"));
}

TEST(RenderBar, SlowWorkIsCountedByTheMinute) {
  EXPECT_THAT(RenderBar("j", Unit::kShards, {.done = 1, .total = 9, .fraction = 0.1}, 0.05, 200'000,
                        kPlain),
              EndsWith("3.0 shards/min  3 min 20 s left"));
}

TEST(ProgressBar, RedrawsInPlaceAtMostTenTimesASecond) {
  testing::ManualClock clock;
  Memory memory;
  ProgressBar bar("render", Unit::kShards, memory.file(), kPlain, 0, clock);
  for (uint64_t i = 0; i <= 200; ++i) {
    bar.Update({.done = i, .total = 1000, .fraction = static_cast<double>(i) / 1000});
    clock.now_ms += 10;
  }
  const std::string text = memory.text();
  EXPECT_THAT(text, Not(HasSubstr("\n")));
  EXPECT_THAT(text, StartsWith("\r"));
  EXPECT_LE(std::count(text.begin(), text.end(), '\r'), 21);
  EXPECT_THAT(text, HasSubstr("100 shards/s"));
  EXPECT_THAT(text, HasSubstr("9 s left"));
  bar.Finish();
  EXPECT_THAT(memory.text(), EndsWith("\r\x1b[K"));
}

TEST(ProgressBar, APipeGetsWholeLinesSeldom) {
  testing::ManualClock clock;
  Memory memory;
  BarStyle style;
  style.width = 1000;
  ProgressBar bar("render", Unit::kShards, memory.file(), style, 0, clock);
  for (uint64_t i = 0; i < 100; ++i) {
    bar.Update({.done = i, .total = 100, .fraction = static_cast<double>(i) / 100});
    clock.now_ms += 100;
  }
  const std::string text = memory.text();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 4) << text;
  EXPECT_THAT(text, Not(HasSubstr("\r")));
  EXPECT_THAT(text, Not(HasSubstr("#")));
  EXPECT_THAT(text, StartsWith("render  0/100    0%\n"));
}

TEST(ProgressBar, QuickWorkStaysSilent) {
  testing::ManualClock clock;
  Memory memory;
  ProgressBar bar("packing", Unit::kBytes, memory.file(), kPlain, 1000, clock);
  bar.Update({.done = 1, .total = 2, .fraction = 0.5});
  clock.now_ms += 900;
  bar.Update({.done = 2, .total = 2, .fraction = 1});
  bar.Finish();
  EXPECT_EQ(memory.text(), "");
}

TEST(ProgressBar, NotesStandAboveTheBar) {
  testing::ManualClock clock;
  Memory memory;
  ProgressBar bar("render", Unit::kShards, memory.file(), kPlain, 0, clock);
  bar.Update({.done = 1, .total = 2, .fraction = 0.5});
  bar.Note("lost the grid");
  EXPECT_THAT(memory.text(), HasSubstr("\r\x1b[Klost the grid\n\rrender"));
}

}  // namespace
}  // namespace corpgrid::cli
