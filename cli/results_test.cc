#include "cli/results.h"

#include <fstream>
#include <vector>

#include "base/testing/temp_folder.h"
#include "gtest/gtest.h"

namespace corpgrid::cli {
namespace {

TEST(OutputName, StaysInItsFolder) {
  EXPECT_TRUE(CheckOutputName("tile.ppm").ok());
  EXPECT_TRUE(CheckOutputName("a/b..c/.hidden").ok());
  const std::string_view nul("a\0b", 3);
  const std::vector<std::string_view> bad = {"",     "/etc/passwd", "../x", "a/../../x",
                                             "a//b", "a/.",         "a/",   nul};
  for (const std::string_view name : bad) {
    EXPECT_FALSE(CheckOutputName(name).ok()) << name;
  }
}

TEST(FileHas, ComparesBytesNotNames) {
  const testing::TempFolder folder;
  const std::string path = folder / "said";
  std::ofstream(path) << "hello";
  const crypto::Hash hash = crypto::Blake3("hello");
  EXPECT_TRUE(FileHas(path, hash, 5));
  EXPECT_FALSE(FileHas(path, hash, 6));
  EXPECT_FALSE(FileHas(path, crypto::Blake3("hellO"), 5));
  EXPECT_FALSE(FileHas(path + ".missing", hash, 5));
  EXPECT_FALSE(FileHas(folder.path(), hash, 5));
}

}  // namespace
}  // namespace corpgrid::cli
