#include "runner/session.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/openat2.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "runner/sandboxed_test.h"

namespace corpgrid::runner {
namespace {

using testing::HasSubstr;

class SessionTest : public SandboxedTest {
 protected:
  // Says that it runs, then runs on.
  static ShardRequest Sleep() {
    ShardRequest request;
    request.argv = {"/bin/sh", "-c", "echo 1 >&3; sleep 20"};
    request.wall_ms = 20'000;
    return request;
  }

  double AwaitProgress(double fraction) const {
    for (int i = 0; i < 2000 && session_->Progress() != fraction; ++i) usleep(5'000);
    return session_->Progress();
  }

  // The left-over processes of that name, the oldest first: of "corpgrid-runner" the runner itself
  // and the init of its shard.
  std::vector<pid_t> Named(const std::string& name) const {
    std::vector<pid_t> pids;
    for (pid_t pid : LeftOver(0)) {
      std::ifstream file("/proc/" + std::to_string(pid) + "/comm");
      std::string found;
      if (file >> found && found == name) pids.push_back(pid);
    }
    return pids;
  }
};

// What the agent reads of the work folder: as it opens outputs.
std::string Output(int work_fd, const char* name) {
  open_how how = {};
  how.flags = O_RDONLY | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
  int fd = syscall(SYS_openat2, work_fd, name, &how, sizeof how);
  if (fd < 0) return "";
  std::string text(4096, '\0');
  text.resize(std::max<ssize_t>(read(fd, text.data(), text.size()), 0));
  close(fd);
  return text;
}

TEST_F(SessionTest, ReportsExitStatusAndSignal) {
  Result fine = Run({"/bin/true"});
  EXPECT_EQ(fine.exit.end, ShardEnd::kExited);
  EXPECT_EQ(fine.exit.code, 0);
  EXPECT_GT(fine.exit.wall_us, 0);
  EXPECT_GT(fine.exit.max_rss_bytes, 0u);
  EXPECT_EQ(Shell("exit 7").exit.code, 7);
  Result killed = Shell("kill -SEGV $$");
  EXPECT_EQ(killed.exit.end, ShardEnd::kSignaled);
  EXPECT_EQ(killed.exit.code, SIGSEGV);
  // For a PID 1 neither would do anything.
  EXPECT_EQ(Shell("kill -TERM $$; exit 3").exit.code, SIGTERM);
  EXPECT_EQ(Python("import os; os.abort()").exit.code, SIGABRT);
}

TEST_F(SessionTest, CountsTheCpuTimeOfAll) {
  // Of a grandchild that nobody waited for, too.
  Result busy = Python(
      "import os, time\n"
      "if os.fork() == 0:\n"
      "  while time.process_time() < 0.3: pass\n"
      "  open('/work/done', 'w').close(); time.sleep(30)\n"
      "while not os.path.exists('/work/done'): time.sleep(0.01)\n");
  EXPECT_GE(busy.exit.cpu_us, 300'000);
  EXPECT_GE(busy.exit.wall_us, 300'000);
}

TEST_F(SessionTest, SaysWhyACommandDidNotStart) {
  Result absent = Run({"./absent"});
  EXPECT_EQ(absent.exit.end, ShardEnd::kNotStarted);
  EXPECT_EQ(absent.exit.code, ENOENT);
  EXPECT_EQ(Run({"absent-from-path"}).exit.code, ENOENT);
  EXPECT_EQ(Run({"/etc/passwd"}).exit.code, EACCES);
  EXPECT_EQ(Run({"/usr"}).exit.code, EACCES);
  EXPECT_EQ(Run({}).exit.end, ShardEnd::kNotStarted);
  Result large = Run({"/bin/echo", std::string(200 << 10, 'x')});
  EXPECT_EQ(large.exit.end, ShardEnd::kNotStarted);
  EXPECT_EQ(large.exit.code, E2BIG);
  EXPECT_EQ(Run({"/bin/echo", std::string(100 << 10, 'x')}).out.size(), (100u << 10) + 1);
  EXPECT_EQ(Run({"true"}).exit.code, 0) << "found by PATH";
}

TEST_F(SessionTest, GivesTheEnvironmentExactly) {
  Start(Options());
  ShardRequest request;
  request.argv = {"env"};
  request.env = {{"A", "1"}, {"EMPTY", ""}, {"PATH", "/absent:/usr/bin"}, {"TEXT", "x=y z\n"}};
  request.wall_ms = 5000;
  ASSERT_TRUE(session_->Run(request).ok());
  EXPECT_EQ(session_->Stdout(1000), "A=1\nEMPTY=\nPATH=/absent:/usr/bin\nTEXT=x=y z\n\n");
  EXPECT_EQ(Run({"/usr/bin/env"}).out, "") << "nothing of the shard before";
}

TEST_F(SessionTest, StartsInTheWorkFolderWithNothingOpenButTheStreams) {
  EXPECT_EQ(Run({"/bin/pwd"}).out, "/work\n");
  EXPECT_EQ(Run({"/bin/ls", "-A", "/work", "/tmp", "/dev/shm"}).out,
            "/dev/shm:\n\n/tmp:\n\n/work:\n");
  // 4: the folder that ls reads.
  EXPECT_EQ(Run({"/bin/ls", "/proc/self/fd"}).out, "0\n1\n2\n3\n4\n");
  EXPECT_EQ(Shell("readlink /proc/self/fd/0; wc -c").out, "/dev/null\n0\n");
}

TEST_F(SessionTest, KeepsTheEndOfTheLogs) {
  Result both = Shell("echo out; echo err >&2");
  EXPECT_EQ(both.out, "out\n");
  EXPECT_EQ(both.err, "err\n");
  EXPECT_EQ(session_->Stdout(3), "ut\n");

  ShardRequest request;
  request.argv = {"/usr/bin/seq", "100000"};
  request.wall_ms = 20'000;
  request.log_bytes = 100;
  ASSERT_TRUE(session_->Run(request).ok());
  EXPECT_EQ(session_->Stdout(14), "\n99999\n100000\n");
  EXPECT_EQ(session_->Stdout(1000).size(), 100u);
  EXPECT_EQ(Run({"/bin/true"}).out, "");
}

TEST_F(SessionTest, AGibibyteOfOutputIsBounded) {
  Result loud = Shell("head -c 1073741824 /dev/zero; echo end; echo end >&2");
  EXPECT_EQ(loud.exit.code, 0);
  EXPECT_EQ(loud.out.size(), 1u << 20);
  EXPECT_TRUE(loud.out.ends_with("end\n"));
  EXPECT_EQ(loud.err, "end\n");
}

TEST_F(SessionTest, ShowsProgressWhileTheShardRuns) {
  Start(Options());
  EXPECT_EQ(session_->Progress(), -1);
  std::thread shard(
      [&] { Shell("echo 0.25 >&3; sleep 0.5; printf 0.5 >&3; sleep 0.5; echo x >&3"); });
  EXPECT_EQ(AwaitProgress(0.25), 0.25);
  EXPECT_EQ(AwaitProgress(0.5), 0.5);
  shard.join();
  EXPECT_EQ(session_->Progress(), 0.5) << "x is no number";
  Shell("echo 7 >&3; echo -3 >&3; echo nan >&3");
  EXPECT_EQ(session_->Progress(), -1);
}

TEST_F(SessionTest, OutputsAreThereUntilTheNextShard) {
  Shell("mkdir sub; echo data > sub/out; ln -s /etc/passwd link; ln -s ../.. sub/up");
  EXPECT_EQ(Output(session_->work_fd(), "sub/out"), "data\n");
  EXPECT_EQ(Output(session_->work_fd(), "link"), "");
  EXPECT_EQ(Output(session_->work_fd(), "sub/up/etc/passwd"), "");
  EXPECT_EQ(Output(session_->work_fd(), "../etc/passwd"), "");
  EXPECT_EQ(Run({"/bin/ls", "-A"}).out, "");
  EXPECT_EQ(Output(session_->work_fd(), "sub/out"), "");
}

TEST_F(SessionTest, BundleEntriesAreLinkedIntoEachFreshWorkFolder) {
  SandboxOptions options = Options();
  options.bundle_dir = folder_ + "/bundle";
  std::filesystem::create_directories(options.bundle_dir + "/lib");
  std::ofstream(options.bundle_dir + "/lib/data") << "from the bundle\n";
  std::ofstream(options.bundle_dir + "/go") << "#!/bin/sh\ncat lib/data\n";
  chmod((options.bundle_dir + "/go").c_str(), 0755);
  Start(options);
  EXPECT_EQ(Run({"./go"}).out, "from the bundle\n");
  EXPECT_EQ(Shell("echo x > lib/data").exit.code, 2) << "read-only";
  EXPECT_EQ(Shell("echo x > /bundle/new").exit.code, 2);
  // As many entries as before, but other ones.
  EXPECT_EQ(Shell("rm go && ln -s /bin/false go && mv lib l2 && mv go lib && mv l2 go").exit.code,
            0);
  EXPECT_EQ(Run({"./go"}).out, "from the bundle\n");
  EXPECT_EQ(Shell("rm go; echo '#!/bin/false' > go; chmod +x go").exit.code, 0);
  EXPECT_EQ(Run({"./go"}).out, "from the bundle\n");
}

TEST_F(SessionTest, InputsMayChangeBetweenShards) {
  SandboxOptions options = Options();
  options.input_dir = folder_ + "/input";
  std::filesystem::create_directories(options.input_dir);
  Start(options);
  std::ofstream(options.input_dir + "/one") << "1";
  EXPECT_EQ(Shell("cat /input/*").out, "1");
  std::filesystem::remove(options.input_dir + "/one");
  std::ofstream(options.input_dir + "/two") << "2";
  EXPECT_EQ(Shell("cat /input/*; echo x > /input/two").out, "2");
  EXPECT_NE(Shell("echo x > /input/two").exit.code, 0);
}

TEST_F(SessionTest, CancelEndsTheShardAndOnlyThatOne) {
  Start(Options());
  session_->Cancel(0);  // nothing runs
  EXPECT_EQ(Run({"/bin/true"}).exit.end, ShardEnd::kExited);

  // Cancels the script once it says that it is ready, in its own way.
  auto cancelled = [&](int64_t grace_ms, double ready, const std::string& script) {
    std::thread canceller([&] {
      AwaitProgress(ready);
      session_->Cancel(grace_ms);
    });
    Result result = Shell(script);
    canceller.join();
    return result;
  };
  Result polite =
      cancelled(10'000, 0.5, "trap 'echo bye; exit 4' TERM; echo 0.5 >&3; sleep 20 & wait");
  EXPECT_EQ(polite.exit.end, ShardEnd::kCancelled);
  EXPECT_EQ(polite.out, "bye\n");
  EXPECT_LT(polite.exit.wall_us, 9'000'000);
  Result stubborn = cancelled(300, 1, "trap '' TERM; echo 1 >&3; while :; do sleep 1; done");
  EXPECT_EQ(stubborn.exit.end, ShardEnd::kCancelled);
  EXPECT_GT(stubborn.exit.wall_us, 300'000);
  EXPECT_LT(stubborn.exit.wall_us, 9'000'000);
  EXPECT_EQ(Run({"/bin/true"}).exit.end, ShardEnd::kExited);
}

TEST_F(SessionTest, RunnerKilledBreaksTheSessionAndNothingElse) {
  Start(Options());
  EXPECT_TRUE(session_->Alive());
  ShardRequest request = Sleep();
  std::thread killer([&] {
    AwaitProgress(1);
    kill(Named("corpgrid-runner").at(0), SIGKILL);
  });
  auto exit = session_->Run(request);
  killer.join();
  EXPECT_EQ(exit.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(session_->Run(request).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(LeftOver(1000), std::set<pid_t>());
  EXPECT_FALSE(session_->Alive());
  session_.reset();
  EXPECT_EQ(Run({"/bin/true"}).exit.code, 0) << "a new session works";
}

// It was once reported as the end of the command, and two devices could agree on it.
TEST_F(SessionTest, KilledInitIsNoOutcomeOfTheCommand) {
  Start(Options());
  std::thread killer([&] {
    AwaitProgress(1);
    kill(Named("corpgrid-runner").at(1), SIGKILL);
  });
  auto exit = session_->Run(Sleep());
  killer.join();
  EXPECT_EQ(exit.status().code(), absl::StatusCode::kUnavailable) << exit.status();
  EXPECT_THAT(std::string(exit.status().message()), HasSubstr("init of a shard"));
  EXPECT_EQ(LeftOver(1000), std::set<pid_t>());
}

// A receive that has a time limit fails with EINTR when its process was stopped and goes on. A
// laptop that slept at that moment lost its shard to "bubblewrap cannot make a sandbox here".
TEST_F(SessionTest, ADeviceThatSleepsWhileASandboxStartsIsNoFault) {
  const pid_t agent = fork();
  if (agent == 0) {
    for (int i = 0; i < 10; ++i) {
      if (!Session::Start(Options()).ok()) _exit(1);
    }
    _exit(0);
  }
  int status = 0;
  while (waitpid(agent, &status, WNOHANG) == 0) {
    kill(agent, SIGSTOP);
    usleep(500);
    kill(agent, SIGCONT);
    usleep(500);
  }
  EXPECT_EQ(status, 0);
  EXPECT_EQ(LeftOver(1000), std::set<pid_t>());
}

TEST_F(SessionTest, BubblewrapKilledTakesTheSandboxWithIt) {
  Start(Options());
  Run({"/bin/true"});
  for (pid_t pid : Named("bwrap")) kill(pid, SIGKILL);
  EXPECT_EQ(LeftOver(1000), std::set<pid_t>());
}

TEST_F(SessionTest, TheDestructorEndsARunningShard) {
  // A shard that runs when its owner is destroyed: what an exception or a lost thread would do.
  Start(Options());
  pid_t agent = fork();
  if (agent == 0) {
    auto session = Session::Start(Options());
    std::thread([running = session->get()] {
      ShardRequest request;
      request.argv = {"/bin/sh", "-c", "setsid sleep 30 & sleep 30"};
      request.wall_ms = 30'000;
      (void)running->Run(request);
    }).detach();
    usleep(300'000);
    session->reset();
    _exit(0);
  }
  waitpid(agent, nullptr, 0);
  session_.reset();
  EXPECT_EQ(LeftOver(0), std::set<pid_t>());
}

TEST_F(SessionTest, NothingSurvivesAnAgentThatIsKilled) {
  pid_t agent = fork();
  if (agent == 0) {
    auto session = Session::Start(Options());
    ShardRequest request;
    request.argv = {"/bin/sh", "-c",
                    "trap '' TERM; (setsid sleep 30 &) ; setsid sleep 30 & sleep 30"};
    request.wall_ms = 30'000;
    (void)(*session)->Run(request);
    _exit(0);
  }
  for (int i = 0; i < 2000 && Named("sleep").size() < 3; ++i) usleep(5'000);
  EXPECT_EQ(Named("sleep").size(), 3u) << "two in sessions of their own, and the shell's";
  kill(agent, SIGKILL);
  waitpid(agent, nullptr, 0);
  EXPECT_EQ(LeftOver(1000), std::set<pid_t>());
}

TEST_F(SessionTest, RefusesRootAndUnlimited) {
  if (status_as_root.has_value()) {
    EXPECT_EQ(status_as_root->code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status_as_root->message()), HasSubstr("not made as root"));
  }
  EXPECT_EQ(Session::Start({}).status().code(), absl::StatusCode::kInvalidArgument);
  SandboxOptions options = Options();
  options.runner_path = "/absent";
  EXPECT_EQ(Session::Start(options).status().code(), absl::StatusCode::kFailedPrecondition);
  options.runner_path = "/bin/false";  // stands for a sandbox that cannot be made
  EXPECT_EQ(Session::Start(options).status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace corpgrid::runner
