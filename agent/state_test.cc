#include "agent/state.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "base/testing/temp_folder.h"

namespace corpgrid::agent {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class StateTest : public ::testing::Test {
 protected:
  StateTest() {
    for (const char* name : {"/work", "/other", "/spool"}) fs::create_directory(In(name));
    work_ = UniqueFd(open(In("/work").c_str(), O_RDONLY | O_DIRECTORY));
    other_ = UniqueFd(open(In("/other").c_str(), O_RDONLY | O_DIRECTORY));
  }
  std::string In(const std::string& name) const { return folder_.path() + name; }
  void Write(const std::string& name, const std::string& text) const {
    fs::create_directories(fs::path(In(name)).parent_path());
    std::ofstream(In(name)) << text;
  }
  std::string ReadBack(const std::string& name) const {
    std::ifstream in(In(name));
    return {std::istreambuf_iterator<char>(in), {}};
  }
  absl::StatusOr<std::optional<SavedState>> Pack(uint64_t limit = 1 << 20) const {
    return PackState(work_.get(), "state", limit, In("/spool"));
  }

  corpgrid::testing::TempFolder folder_;
  UniqueFd work_, other_;
};

TEST_F(StateTest, ComesBackOnAnotherDevice) {
  Write("/work/state/n", "41");
  Write("/work/state/deep/er/m", std::string(300'000, 'x'));
  chmod(In("/work/state/n").c_str(), 0755);
  Write("/work/beside", "not of it");
  const auto state = Pack();
  ASSERT_TRUE(state.ok()) << state.status();
  ASSERT_TRUE(state->has_value());
  EXPECT_GT((*state)->size_bytes, 300'000u);
  ASSERT_TRUE(UnpackState((*state)->file.get(), other_.get(), "state", 1 << 20).ok());
  EXPECT_EQ(ReadBack("/other/state/n"), "41");
  EXPECT_EQ(ReadBack("/other/state/deep/er/m"), std::string(300'000, 'x'));
  EXPECT_EQ(fs::status(In("/other/state/n")).permissions() & fs::perms::owner_exec,
            fs::perms::owner_exec);
  EXPECT_FALSE(fs::exists(In("/other/beside")));
  EXPECT_EQ((*Pack())->hash, (*state)->hash) << "the same files have the same hash";
  EXPECT_TRUE(fs::is_empty(In("/spool")));
}

TEST_F(StateTest, NoFolderIsNoStateAndAnEmptyOneIs) {
  EXPECT_FALSE(Pack()->has_value());
  fs::create_directory(In("/work/state"));
  const auto state = Pack();
  ASSERT_TRUE(state->has_value());
  EXPECT_TRUE(UnpackState((*state)->file.get(), other_.get(), "state", 1 << 20).ok());
  EXPECT_TRUE(fs::is_empty(In("/other/state")));
}

TEST_F(StateTest, WhatAJobMayNotHaveThereIsRefused) {
  const std::vector<std::function<void()>> tricks = {
      [&] { fs::create_symlink("/etc/passwd", In("/work/state/a")); },
      [&] { fs::create_symlink("n", In("/work/state/inside")); },
      [&] { fs::create_directory_symlink("/", In("/work/state/root")); },
      [&] { mkfifo(In("/work/state/pipe").c_str(), 0600); },
      [&] { Write("/work/state/line\nbreak", ""); },
      [&] { Write("/work/state/\xff", ""); },
      [&] { Write("/work/state/large", std::string(2 << 20, 'x')); },
      [&] { fs::resize_file(In("/work/state/n"), uint64_t{1} << 40); },
      [&] {
        std::string deep = "/work/state";
        for (int i = 0; i < 70; ++i) deep += "/d";
        Write(deep, "");
      },
      [&] {
        fs::remove_all(In("/work/state"));
        Write("/work/state", "a file");
      },
      [&] {
        fs::remove_all(In("/work/state"));
        fs::create_directory_symlink("/etc", In("/work/state"));
      },
  };
  for (size_t i = 0; i < tricks.size(); ++i) {
    fs::remove_all(In("/work/state"));
    Write("/work/state/n", "1");
    tricks[i]();
    const auto state = Pack();
    EXPECT_TRUE(absl::IsInvalidArgument(state.status())) << i << ": " << state.status();
  }
}

TEST_F(StateTest, AStateThatNobodyPackedIsRefused) {
  const UniqueFd file = TemporaryFile(In("/spool")).value();
  ASSERT_TRUE(WriteAll(file.get(), std::string(1024, 'x')).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(UnpackState(file.get(), other_.get(), "state", 1 << 20)));
  EXPECT_TRUE(fs::is_empty(In("/other/state")));
}

TEST_F(StateTest, MoreThanTheLimitIsRefusedOnUnpacking) {
  Write("/work/state/n", std::string(3000, 'x'));
  const auto state = Pack();
  EXPECT_THAT(UnpackState((*state)->file.get(), other_.get(), "state", 2000).ToString(),
              HasSubstr("larger than"));
}

}  // namespace
}  // namespace corpgrid::agent
