#include "job/yaml.h"

#include <ctime>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::job {
namespace {

// "LINE:COLUMN: message" of what is wrong with `text`; "" when it is YAML that we take.
std::string MistakeIn(const std::string& text) {
  const Document document = ParseYaml(text);
  if (document.root) return "";
  EXPECT_EQ(document.mistakes.size(), 1u);
  const Mistake& mistake = document.mistakes.at(0);
  return fmt::format("{}:{}: {}", mistake.at.line, mistake.at.column, mistake.message);
}

TEST(YamlTest, BuildsTheTreeWithPlaces) {
  const Document document = ParseYaml("a: [1, \"x y\"]\nb:\n  c:\n  d: ~\n");
  ASSERT_TRUE(document.root);
  const YamlNode& root = *document.root;
  ASSERT_EQ(root.keys.size(), 2u);
  EXPECT_EQ(root.keys[1].text, "b");
  EXPECT_EQ(root.keys[1].at, (Position{2, 1}));
  EXPECT_EQ(root.items[0].kind, YamlNode::Kind::kList);
  EXPECT_EQ(root.items[0].items[1].text, "x y");
  EXPECT_EQ(root.items[0].items[1].at, (Position{1, 8}));
  const YamlNode& b = root.items[1];
  EXPECT_EQ(b.items[0].kind, YamlNode::Kind::kNull);
  EXPECT_EQ(b.items[0].at, (Position{3, 3})) << "what is not there is at its key";
  EXPECT_EQ(b.items[1].kind, YamlNode::Kind::kNull);
}

TEST(YamlTest, SyntaxErrorsSayWhatToChange) {
  struct Case {
    std::string text;
    std::string expected;
  };
  const std::vector<Case> cases = {
      {"name: x\nshards:4\nretries: 1",
       "2:7: a blank is missing after the \":\", as in \"shards: 4\""},
      {"name:x\nshards: 4", "1:5: a blank is missing after the \":\", as in \"name: x\""},
      {"name = x\nshards: 4",
       "1:1: expected \"key: value\", got \"name = x\"; did you mean \"name: x\"?"},
      {"name: x\nsome words\nshards: 4", "2:1: expected \"key: value\", got \"some words\""},
      {"name: x\n shards: 2",
       "2:2: this line is indented deeper than the one above, which has a value already; align the "
       "keys that belong together"},
      {"run:\n\tcommand: x", "2:1: a tab indents this line; YAML wants blanks"},
      {"run:\n  - a\n b: c",
       "3:2: the indentation of this line fits none of the lines above: begin it in the column of "
       "the keys that it belongs to"},
      {"name: a: b", "1:8: a \":\" where none can be; a text with \": \" in it needs quotes"},
      {"name: \"x\" y", "1:11: unexpected text behind the value; put the whole value into quotes"},
      {"name: \"x\nrun: 1", "1:7: this quotation is never closed"},
      {"run: [\"it's\", \"a]\nname: x", "1:15: this quotation is never closed"},
      {"name: 'x # its\n", "1:7: this quotation is never closed"},
      {"name: \"x\nrun: 1\n", "1:7: this quotation is never closed"},
      {"run: [a, 'b\nname: x\n", "1:10: this quotation is never closed"},
      {"limits: {wall: 1\nname: x", "1:9: this \"{\" is not closed: expected \",\" or \"}\""},
      {"outputs: [a, b\nname: x\nshards: 1",
       "1:10: this \"[\" is not closed: expected \",\" or \"]\""},
      {"outputs: [a, \"b\" \"c\"]", "1:18: expected \",\" or \"]\" for the \"[\" in column 10"},
      {"outputs: [tile-{shard}.ppm]",
       "1:11: a text with braces needs quotes here, as in \"tile-{shard}.ppm\""},
      {"run: {command: [name: x\nrun:\". {com/m",
       "2:8: a text with braces needs quotes here, as in \"{com/m\""},
      {"inputs: *.exr", "1:9: a text that begins with \"*\" needs quotes, as in \"*.exr\""},
      {"outputs: [@x]", "1:11: a text that begins with \"@\" needs quotes, as in \"@x\""},
      {"name: \"a\\qb\"",
       "1:9: unknown escape in a text in double quotes: write \"\\\\\" for a backslash, or use "
       "single quotes"},
      {"outputs: - a",
       "1:10: a list that is written with \"-\" begins on the line after its key; or write it as "
       "[a, b]"},
  };
  for (const Case& one : cases) EXPECT_EQ(MistakeIn(one.text), one.expected) << one.text;
}

TEST(YamlTest, RefusesWhatNoJobNeeds) {
  const std::string anchors =
      "YAML anchors and aliases (& and *) are not supported: write the value out; a text that "
      "begins with one of them needs quotes";
  EXPECT_EQ(MistakeIn("a: &x 1\nb: *x"), "1:4: " + anchors);
  EXPECT_EQ(MistakeIn("a: &x [1]"), "1:4: " + anchors);
  EXPECT_EQ(
      MistakeIn("a: !!python/object x"),
      "1:4: YAML tags (!) are not supported: leave it out; a text that begins with \"!\" needs "
      "quotes");
  EXPECT_EQ(MistakeIn("a: 1\n---\nb: 2"),
            "2:1: a job file holds one YAML document; a second one begins here");
  EXPECT_EQ(MistakeIn("a: [[[[[[[[[1]]]]]]]]]"), "1:11: nested more than 8 levels deep");
}

TEST(YamlTest, RefusesWhatIsNoText) {
  EXPECT_EQ(MistakeIn("a: 1\nb: \x01"), "2:4: a control character (0x01): is this a text file?");
  EXPECT_EQ(MistakeIn(std::string("a\0:", 3)),
            "1:2: a control character (0x00): is this a text file?");
  EXPECT_EQ(MistakeIn("\xff\xfe"), "1:1: not UTF-8: byte 0xff; save the file as UTF-8");
  EXPECT_EQ(MistakeIn("a: 1\nb: caf\xe9"), "2:7: not UTF-8: byte 0xe9; save the file as UTF-8");
  EXPECT_EQ(MistakeIn(std::string((1 << 20) + 1, ' ')),
            "1:1: the file has 1048577 bytes, a job file has at most 1048576");
}

TEST(YamlTest, HostileFilesEndSoon) {
  const auto repeat = [](std::string_view text) {
    std::string file;
    while (file.size() + text.size() <= 1 << 20) file += text;
    return file;
  };
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 20; ++i) {
    bomb += fmt::format("a{0}: &a{0} [*a{1}, *a{1}, *a{1}, *a{1}, *a{1}, *a{1}]\n", i, i - 1);
  }
  for (const std::string& text :
       {bomb, repeat("["), repeat("{"), repeat("- "), repeat("? "), repeat("a: "), repeat("a:\n"),
        repeat("a\n"), repeat("\""), repeat("[a, "), repeat("{a: "), repeat("!"), repeat("&a "),
        repeat("a,"), repeat("\n"), repeat("x: {\n"), repeat("# x\n"), repeat("- a\n") + "b: c"}) {
    const std::clock_t begin = std::clock();  // of this process, however busy the machine is
    ParseYaml(text);
    EXPECT_LT((std::clock() - begin) / CLOCKS_PER_SEC, 20) << text.substr(0, 20);
  }
}

TEST(YamlTest, LinesAndColumns) {
  const Lines lines("é1\r\n\nx");
  EXPECT_EQ(lines.count(), 3u);
  EXPECT_EQ(lines[1], "é1");
  EXPECT_EQ(lines[2], "");
  EXPECT_EQ(lines[3], "x");
  EXPECT_EQ(lines[4], "");
  EXPECT_EQ(lines.Column({1, 3}), 2u) << "é has two bytes";
  EXPECT_EQ(lines.Column({3, 5}), 5u) << "behind the end";
}

}  // namespace
}  // namespace corpgrid::job
