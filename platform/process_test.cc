#include "platform/process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

namespace corpgrid::platform {
namespace {

// Starts `argv` with its stdout in a pipe and returns what it wrote.
std::string OutputOf(Launch launch) {
  int ends[2];
  EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
  launch.fds.emplace_back(ends[1], 1);
  auto process = Process::Start(launch);
  close(ends[1]);
  EXPECT_TRUE(process.ok()) << process.status();
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;) text.append(buffer, n);
  close(ends[0]);
  EXPECT_EQ(process->Wait(-1), 0);
  return text;
}

TEST(Process, GetsExactlyTheEnvironmentAndFolderGiven) {
  EXPECT_EQ(OutputOf({.argv = {"/usr/bin/env"}, .env = {"A=1", "B=x y"}}), "A=1\nB=x y\n");
  EXPECT_EQ(OutputOf({.argv = {"/bin/pwd"}, .working_dir = "/usr"}), "/usr\n");
}

TEST(Process, GetsOnlyTheDescriptorsNamed) {
  int extra = open("/dev/zero", O_RDONLY);  // not close-on-exec: must not leak all the same
  std::string list = OutputOf({.argv = {"/bin/ls", "/proc/self/fd"}, .fds = {{extra, 7}}});
  close(extra);
  EXPECT_EQ(list, "0\n1\n2\n3\n7\n");  // 3: the folder that ls reads
}

TEST(Process, DescriptorsMayChangePlaces) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  // Each one's number is the other's target.
  std::string text =
      OutputOf({.argv = {"/bin/sh", "-c", "echo hello >&$W; head -c 5 <&$R"},
                .env = {"W=" + std::to_string(ends[0]), "R=" + std::to_string(ends[1])},
                .fds = {{ends[0], ends[1]}, {ends[1], ends[0]}}});
  close(ends[0]);
  close(ends[1]);
  EXPECT_EQ(text, "hello");
}

TEST(Process, ReportsStatusAndTimeout) {
  auto process = Process::Start({.argv = {"/bin/sh", "-c", "exit 7"}});
  ASSERT_TRUE(process.ok());
  EXPECT_EQ(WEXITSTATUS(*process->Wait(-1)), 7);

  auto sleeper = Process::Start({.argv = {"/bin/sleep", "100"}});
  ASSERT_TRUE(sleeper.ok());
  EXPECT_EQ(sleeper->Wait(10), std::nullopt);
  sleeper->Signal(SIGTERM);
  EXPECT_EQ(WTERMSIG(*sleeper->Wait(-1)), SIGTERM);
  sleeper->Signal(SIGTERM);  // of nobody
}

TEST(Process, SaysWhyItDidNotStart) {
  auto absent = Process::Start({.argv = {"/absent/program"}});
  EXPECT_EQ(absent.status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(absent.status().message(), "cannot start /absent/program: no such file");
  EXPECT_EQ(Process::Start({.argv = {"/etc/passwd"}}).status().message(),
            "cannot start /etc/passwd: Permission denied");
}

TEST(Process, EndsWithItsOwner) {
  pid_t pid;
  {
    auto process = Process::Start({.argv = {"/bin/sleep", "100"}});
    ASSERT_TRUE(process.ok());
    pid = process->pid();
  }
  EXPECT_EQ(kill(pid, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST(Process, EndsWithTheThreadThatStartedItWhenAsked) {
  absl::StatusOr<Process> process = absl::UnknownError("not started");
  std::thread([&] {
    auto started = Process::Start({.argv = {"/bin/sleep", "100"}, .die_with_thread = true});
    process.emplace(*std::move(started));
  }).join();
  ASSERT_TRUE(process.ok());
  std::optional<int> status = process->Wait(5000);
  ASSERT_TRUE(status.has_value());
  EXPECT_EQ(WTERMSIG(*status), SIGKILL);
}

}  // namespace
}  // namespace corpgrid::platform
