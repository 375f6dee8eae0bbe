#include "platform/confine.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
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

// 0, or why it cannot be made.
int SocketError(int family, int type) {
  const Fd fd(socket(family, type | SOCK_CLOEXEC, 0));
  return fd ? 0 : errno;
}

TEST(ConfineTest, SpeaksToNobodyButThoseWhoCome) {
  const corpgrid::testing::TempFolder folder;
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  (folder.path() + "/socket").copy(address.sun_path, sizeof address.sun_path - 1);
  const auto* where = reinterpret_cast<const sockaddr*>(&address);
  const Fd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const auto connects = [&] {
    const Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    return connect(fd.get(), where, sizeof address) == 0 ? 0 : errno;
  };
  std::thread([&] {
    ASSERT_TRUE(ConfineSockets().ok()) << ConfineSockets();
    for (const int family : {AF_INET, AF_INET6, AF_PACKET, AF_NETLINK, AF_VSOCK}) {
      EXPECT_EQ(SocketError(family, SOCK_STREAM), EAFNOSUPPORT) << family;
    }
    EXPECT_EQ(SocketError(AF_UNIX, SOCK_DGRAM), EPERM);
    EXPECT_EQ(SocketError(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK), EPERM);
    EXPECT_EQ(syscall(SYS_io_uring_setup, 1, nullptr), -1);
    EXPECT_EQ(errno, ENOSYS);
    ASSERT_EQ(bind(listener.get(), where, sizeof address), 0);
    ASSERT_EQ(listen(listener.get(), 1), 0);
    EXPECT_EQ(connects(), EPERM);
  }).join();
  EXPECT_EQ(connects(), 0);  // who is not confined comes in
}

}  // namespace
}  // namespace corpgrid::platform
