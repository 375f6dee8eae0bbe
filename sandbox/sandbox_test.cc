#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>

#include "platform/file.h"
#include "sandbox/bubblewrap.h"
#include "sandbox/unprivileged.h"

namespace corpgrid::sandbox {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class SandboxTest : public testing::Test {
 protected:
  SandboxTest() {
    char name[] = "/tmp/corpgrid-sandbox-XXXXXX";
    root_ = mkdtemp(name);
    chmod(root_.c_str(), 0755);
  }
  ~SandboxTest() override { std::filesystem::remove_all(root_); }

  std::string root_;
};

// What `body` returns, run in a child: it may change who it is.
std::string InChild(const std::function<std::string()>& body) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  pid_t pid = fork();
  if (pid == 0) {
    std::string text = body();
    [[maybe_unused]] ssize_t n = write(ends[1], text.data(), text.size());
    _exit(0);
  }
  close(ends[1]);
  std::string text(4096, '\0');
  text.resize(std::max<ssize_t>(read(ends[0], text.data(), text.size()), 0));
  close(ends[0]);
  waitpid(pid, nullptr, 0);
  return text;
}

TEST(Check, ThisMachineCanMakeSandboxes) { EXPECT_EQ(CheckSandbox(), absl::OkStatus()); }

TEST_F(SandboxTest, DiagnosisNamesTheSetting) {
  std::filesystem::create_directories(root_ + "/kernel");
  std::filesystem::create_directories(root_ + "/user");
  EXPECT_EQ(Diagnose(root_, "bwrap: no"), "bubblewrap cannot make a sandbox here (bwrap: no)");
  std::ofstream(root_ + "/kernel/apparmor_restrict_unprivileged_userns") << "1\n";
  EXPECT_THAT(Diagnose(root_, ""), HasSubstr("apparmor_restrict_unprivileged_userns=0"));
  std::ofstream(root_ + "/kernel/unprivileged_userns_clone") << "0\n";
  EXPECT_THAT(Diagnose(root_, ""), HasSubstr("unprivileged_userns_clone=1"));
  std::ofstream(root_ + "/user/max_user_namespaces") << "0\n";
  EXPECT_THAT(Diagnose(root_, ""), HasSubstr("user.max_user_namespaces=10000"));
}

TEST(Bubblewrap, SharesTheNetworkOnlyWhenAsked) {
  auto has = [](const std::vector<std::string>& words, const std::string& word) {
    return std::find(words.begin(), words.end(), word) != words.end();
  };
  View view;
  EXPECT_TRUE(has(BubblewrapCommand("bwrap", view, {"true"}), "--unshare-net"));
  EXPECT_FALSE(has(BubblewrapCommand("bwrap", view, {"true"}), "/etc/resolv.conf"));
  view.network = true;
  EXPECT_FALSE(has(BubblewrapCommand("bwrap", view, {"true"}), "--unshare-net"));
  EXPECT_TRUE(has(BubblewrapCommand("bwrap", view, {"true"}), "/etc/resolv.conf"));
}

class BecomeUnprivilegedTest : public SandboxTest {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "only root can become somebody else";
  }
};

TEST_F(BecomeUnprivilegedTest, LeavesRootForGood) {
  std::string folder = root_ + "/agent";
  std::string said = InChild([&]() -> std::string {
    auto uid = BecomeUnprivileged(folder);
    if (!uid.ok()) return std::string(uid.status().message());
    if (*uid < 61184 || *uid > 65519 || getuid() != *uid || getgid() == 0) return "wrong user";
    if (getgroups(0, nullptr) != 0) return "has groups";
    if (setuid(0) == 0 || setgid(0) == 0) return "could go back";
    if (open("/etc/shadow", O_RDONLY) >= 0) return "reads /etc/shadow";
    std::string status = *platform::ReadSmallFile("/proc/thread-self/status");
    for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapAmb"}) {
      if (status.find(std::string(set) + ":\t0000000000000000") == std::string::npos) return set;
    }
    if (open((folder + "/mine").c_str(), O_CREAT | O_WRONLY, 0600) < 0) return "not its folder";
    return "fine";
  });
  EXPECT_EQ(said, "fine");
  struct stat status;
  ASSERT_EQ(stat(folder.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0700u);
}

TEST_F(BecomeUnprivilegedTest, EachFolderKeepsItsOwnUser) {
  auto user_of = [&](const std::string& name) {
    return InChild([&] { return std::to_string(BecomeUnprivileged(root_ + "/" + name).value()); });
  };
  std::string one = user_of("agent-1"), two = user_of("agent-2");
  EXPECT_NE(one, two);
  EXPECT_EQ(user_of("agent-1"), one);
  std::filesystem::rename(root_ + "/agent-1", root_ + "/moved");
  EXPECT_EQ(user_of("moved"), one) << "what is in it would be lost";
}

TEST_F(BecomeUnprivilegedTest, NamesTheFolderThatIsInTheWay) {
  std::filesystem::create_directories(root_ + "/closed/data");
  chmod((root_ + "/closed").c_str(), 0700);
  std::string said = InChild(
      [&] { return std::string(BecomeUnprivileged(root_ + "/closed/data/a").status().message()); });
  EXPECT_THAT(said, StartsWith(root_ + "/closed lets user "));
}

TEST_F(BecomeUnprivilegedTest, RefusesALinkInPlaceOfTheFolder) {
  std::filesystem::create_symlink("/etc", root_ + "/link");
  std::string said =
      InChild([&] { return BecomeUnprivileged(root_ + "/link").ok() ? "took it" : "refused"; });
  EXPECT_EQ(said, "refused");
  struct stat status;
  ASSERT_EQ(stat("/etc", &status), 0);
  EXPECT_EQ(status.st_uid, 0u);
}

TEST_F(BecomeUnprivilegedTest, StillDiesWithItsParent) {
  std::string said = InChild([&]() -> std::string {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!BecomeUnprivileged(root_ + "/agent").ok()) return "failed";
    int signal = 0;
    prctl(PR_GET_PDEATHSIG, &signal);
    return signal == SIGKILL ? "still" : "forgotten";
  });
  EXPECT_EQ(said, "still");
}

TEST(BecomeUnprivileged, DoesNothingForAUserWhoIsNotRoot) {
  std::string said = InChild([]() -> std::string {
    if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0) return "cannot leave root";
    auto uid = BecomeUnprivileged("/absent/folder");
    return uid.ok() && *uid == geteuid() ? "nothing" : "something";
  });
  EXPECT_EQ(said, "nothing");
}

}  // namespace
}  // namespace corpgrid::sandbox
