#include "cli/table.h"

#include "gtest/gtest.h"

namespace corpgrid::cli {
namespace {

TEST(Table, LinesUpColumnsAndLeavesNoSpacesAtTheEnd) {
  Table table({{"ID", true}, {"NAME"}, {"STATE"}});
  table.AddRow({"7", "render", "done"});
  table.AddRow({"12", "wörter", "running"});
  EXPECT_EQ(table.ToText(),
            "ID  NAME    STATE\n"
            " 7  render  done\n"
            "12  wörter  running\n");
}

TEST(Table, EmptyLastCellsLeaveNoSpaces) {
  Table table({{"A"}, {"B"}});
  table.AddRow({"x", ""});
  EXPECT_EQ(table.ToText(), "A  B\nx\n");
}

TEST(Table, NamesCannotMoveTheCursor) {
  Table table({{"NAME"}});
  table.AddRow({"a\x1b[2Jb\nc"});
  EXPECT_EQ(table.ToText(), "NAME\na\\x1b[2Jb\\nc\n");
}

TEST(Details, LinesUpValues) {
  Details details;
  details.Add("name", "render");
  details.Add("submitted", "3 min ago");
  EXPECT_EQ(details.ToText(), "name       render\nsubmitted  3 min ago\n");
}

TEST(Printable, KeepsTextAndShowsWhatIsNot) {
  EXPECT_EQ(Printable("größe ✓ 漢"), "größe ✓ 漢");
  EXPECT_EQ(Printable("\t\r\x7f"), "\\t\\r\\x7f");
  EXPECT_EQ(Printable("a\xff\xc3"), "a\\xff\\xc3");
  EXPECT_EQ(Printable("\xc2\x9b"), "\\xc2\\x9b");
}

TEST(FormatAgo, PicksTheLargestUnitThatSaysSomething) {
  EXPECT_EQ(FormatAgo(-5), "just now");
  EXPECT_EQ(FormatAgo(1999), "just now");
  EXPECT_EQ(FormatAgo(59'000), "59 s ago");
  EXPECT_EQ(FormatAgo(3 * 60'000 + 50'000), "3 min ago");
  EXPECT_EQ(FormatAgo(47 * 3'600'000ll), "47 h ago");
  EXPECT_EQ(FormatAgo(48 * 3'600'000ll), "2 days ago");
}

}  // namespace
}  // namespace corpgrid::cli
