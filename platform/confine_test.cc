#include "platform/confine.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <thread>

#include "base/testing/temp_folder.h"
#include "platform/file.h"
#include "platform/process.h"

namespace corpgrid::platform {
namespace {

// 0, or why it cannot be opened.
int OpenError(const std::string& path, int flags) {
  const Fd fd(open(path.c_str(), flags | O_CLOEXEC, 0600));
  return fd ? 0 : errno;
}

TEST(ConfineTest, LeavesWhatItWasToldAndNothingElse) {
  const corpgrid::testing::TempFolder folder;
  for (const char* name : {"/readable", "/writable", "/other"}) {
    mkdir((folder.path() + name).c_str(), 0700);
    std::ofstream(folder.path() + name + "/file") << "text";
  }
  // Threads that were there before stay as they are, so the test does.
  std::thread([&] {
    const auto confined = ConfineFiles({.read = {folder.path() + "/readable", "/no/such"},
                                        .write = {folder.path() + "/writable"}});
    ASSERT_TRUE(confined.ok()) << confined.status();
    if (!*confined) GTEST_SKIP() << "this kernel has no Landlock";
    EXPECT_EQ(OpenError(folder.path() + "/readable/file", O_RDONLY), 0);
    EXPECT_EQ(OpenError(folder.path() + "/readable/file", O_WRONLY), EACCES);
    EXPECT_EQ(OpenError(folder.path() + "/readable/new", O_CREAT | O_WRONLY), EACCES);
    EXPECT_EQ(OpenError(folder.path() + "/writable/new", O_CREAT | O_RDWR), 0);
    EXPECT_EQ(unlink((folder.path() + "/writable/new").c_str()), 0);
    EXPECT_EQ(OpenError(folder.path() + "/other/file", O_RDONLY), EACCES);
    EXPECT_EQ(unlink((folder.path() + "/other/file").c_str()), -1);
    std::thread([&] {
      EXPECT_EQ(OpenError(folder.path() + "/other/file", O_RDONLY), EACCES);
    }).join();
    EXPECT_FALSE(Process::Start({.argv = {"/bin/true"}}).ok());
  }).join();
  EXPECT_EQ(OpenError(folder.path() + "/other/file", O_RDONLY), 0);
}

}  // namespace
}  // namespace corpgrid::platform
