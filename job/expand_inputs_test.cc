#include <unistd.h>

#include <filesystem>

#include "crypto/test_folder.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "job/job_file.h"

namespace corpgrid::job {
namespace {

using crypto::TestFolder;
using crypto::WriteText;
using ::testing::ElementsAre;

std::vector<std::string> NamesOf(const std::string& pattern) {
  const auto files = ExpandInputs(pattern);
  EXPECT_TRUE(files.ok()) << files.status();
  std::vector<std::string> names;
  for (const InputFile& file : *files) names.push_back(file.name);
  return names;
}

TEST(ExpandInputsTest, TakesRegularFilesSortedByName) {
  const TestFolder folder;
  for (const char* name : {"b.exr", "a.exr", "c.txt", ".hidden.exr", "é.exr"}) {
    WriteText(folder / name, "x", 0644);
  }
  std::filesystem::create_directory(folder / "folder.exr");
  std::filesystem::create_symlink("c.txt", folder / "link.exr");
  EXPECT_THAT(NamesOf(folder / "*.exr"), ElementsAre("a.exr", "b.exr", "link.exr", "é.exr"));
  EXPECT_EQ(ExpandInputs(folder / "a.*")->at(0).path, folder / "a.exr");
}

TEST(ExpandInputsTest, LooksIntoFolders) {
  const TestFolder folder;
  for (const char* name : {"x", "y"}) {
    std::filesystem::create_directory(folder / name);
    WriteText((folder / name) + "/" + name + ".exr", "x", 0644);
  }
  EXPECT_THAT(NamesOf(folder / "*/*.exr"), ElementsAre("x.exr", "y.exr"));
}

TEST(ExpandInputsTest, TwoFilesOfOneNameAreAnError) {
  const TestFolder folder;
  for (const char* name : {"x", "y"}) {
    std::filesystem::create_directory(folder / name);
    WriteText((folder / name) + "/1.exr", "x", 0644);
  }
  const absl::Status status = ExpandInputs(folder / "*/1.exr").status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_EQ(std::string(status.message()),
            fmt::format("inputs: two files have the name \"1.exr\": {} and {}; shards read their "
                        "file by its name, so rename one",
                        folder / "x/1.exr", folder / "y/1.exr"));
}

TEST(ExpandInputsTest, NothingIsAnError) {
  const TestFolder folder;
  std::filesystem::create_directory(folder / "empty");
  const auto message = [&](const char* name) {
    const absl::Status status = ExpandInputs(folder / name).status();
    EXPECT_TRUE(absl::IsNotFound(status)) << status;
    return std::string(status.message());
  };
  EXPECT_THAT(message("*.exr"), ::testing::StartsWith("inputs: no file matches \"/"));
  EXPECT_THAT(message("missing/*"), ::testing::StartsWith("inputs: no file matches \"/"));
  EXPECT_THAT(message("*"), ::testing::EndsWith("matches no regular file, only folders and the "
                                                "like"));
  std::filesystem::create_symlink("nowhere", folder / "link");
  EXPECT_THAT(message("li*"), ::testing::EndsWith("/link\" is a link that leads nowhere"));
}

TEST(ExpandInputsTest, AFolderThatCannotBeReadIsAnError) {
  const TestFolder folder;
  std::filesystem::create_directory(folder / "locked");
  std::filesystem::permissions(folder / "locked", std::filesystem::perms::none);
  std::filesystem::permissions(folder / ".", static_cast<std::filesystem::perms>(0755));
  // Root reads every folder.
  const bool root = geteuid() == 0;
  ASSERT_TRUE(!root || seteuid(65534) == 0);
  const absl::Status status = ExpandInputs(folder / "*/*").status();
  ASSERT_TRUE(!root || seteuid(0) == 0);
  EXPECT_TRUE(absl::IsPermissionDenied(status)) << status;
  std::filesystem::permissions(folder / "locked", std::filesystem::perms::owner_all);
}

}  // namespace
}  // namespace corpgrid::job
