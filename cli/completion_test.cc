#include "cli/completion.h"

#include "cli/commands.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::cli {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

class CompletionTest : public testing::Test {
 protected:
  CompletionTest() {
    tree_.root.name("corpgrid");
    AddDaemonCommands(tree_);
    AddJobCommands(tree_);
    AddDeviceCommands(tree_);
    AddTokenAndKeyCommands(tree_);
    AddCompletionCommands(tree_);
  }
  std::vector<std::string> CompleteWords(const std::vector<std::string>& words) {
    return Complete(tree_.root, words, [](const std::string& kind) {
      return kind == "JOB" ? std::vector<std::string>{"12", "7"}
                           : std::vector<std::string>{"agent-1", "laptop"};
    });
  }
  CommandTree tree_;
};

TEST_F(CompletionTest, Commands) {
  EXPECT_THAT(CompleteWords({"jo"}), ElementsAre("job"));
  EXPECT_THAT(CompleteWords({"job", "s"}), ElementsAre("show", "submit"));
  EXPECT_THAT(CompleteWords({""}), Contains("up"));
  EXPECT_THAT(CompleteWords({""}), Not(Contains("__complete")));
}

TEST_F(CompletionTest, Options) {
  EXPECT_THAT(CompleteWords({"job", "logs", "7", "--s"}), ElementsAre("--shard", "--stderr"));
  EXPECT_THAT(CompleteWords({"job", "logs", "7", "--j"}), ElementsAre("--json"));
}

TEST_F(CompletionTest, ValuesOfPositionalsAndOptions) {
  EXPECT_THAT(CompleteWords({"job", "show", ""}), ElementsAre("12", "7"));
  EXPECT_THAT(CompleteWords({"job", "show", "1"}), ElementsAre("12"));
  EXPECT_THAT(CompleteWords({"device", "why", "l"}), ElementsAre("laptop"));
  EXPECT_THAT(CompleteWords({"job", "run", "--out", ""}), ElementsAre("<folders>"));
  EXPECT_THAT(CompleteWords({"job", "run", "jo"}), ElementsAre("<files>"));
  EXPECT_THAT(CompleteWords({"up", "--agents", ""}), IsEmpty());
}

TEST_F(CompletionTest, OptionsDoNotCountAsPositionals) {
  EXPECT_THAT(CompleteWords({"job", "show", "--data", "x", "--shards", "1"}), ElementsAre("12"));
  EXPECT_THAT(CompleteWords({"job", "show", "--data=x", "1"}), ElementsAre("12"));
}

TEST_F(CompletionTest, FindsWhatDoesNotBelong) {
  EXPECT_EQ(FindPlace(tree_.root, {"jbo"}).unknown, "jbo");
  EXPECT_EQ(FindPlace(tree_.root, {"job", "run", "a.yaml", "--otu", "x"}).unknown, "--otu");
  EXPECT_EQ(FindPlace(tree_.root, {"job", "show", "7", "8"}).unknown, "8");
  EXPECT_EQ(FindPlace(tree_.root, {"job", "show", "7", "--json"}).unknown, "");
}

TEST_F(CompletionTest, EveryCommandHasAnExampleAndADescription) {
  std::vector<CLI::App*> open = {&tree_.root};
  while (!open.empty()) {
    CLI::App* app = open.back();
    open.pop_back();
    for (CLI::App* sub : app->get_subcommands([](CLI::App*) { return true; })) {
      open.push_back(sub);
      EXPECT_NE(sub->get_description(), "") << sub->get_name();
      if (!sub->get_group().empty() && CommandNames(*sub).empty()) {
        EXPECT_THAT(sub->get_footer(), testing::HasSubstr("corpgrid")) << sub->get_name();
      }
    }
  }
}

}  // namespace
}  // namespace corpgrid::cli
