// Copies of the work folder while a shard runs, and folders that are filled before it starts.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "runner/sandboxed_test.h"

namespace corpgrid::runner {
namespace {

using testing::HasSubstr;

std::string Read(int folder, const char* name) {
  const int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return "";
  std::string text(1 << 16, '\0');
  text.resize(std::max<ssize_t>(read(fd, text.data(), text.size()), 0));
  close(fd);
  return text;
}

class SnapshotTest : public SandboxedTest {
 protected:
  static ShardRequest Python(const std::string& program, int64_t wall_ms = 20'000) {
    ShardRequest request;
    request.argv = {"/usr/bin/python3", "-c", program};
    request.wall_ms = wall_ms;
    return request;
  }
};

// Four processes of three threads each write "a" before "b", as fast as they can, while they fork.
constexpr char kWriters[] = R"(
import os, threading, time
def write(name, end):
  n = 0
  while time.time() < end:
    n += 1
    for part in ("a", "b"):
      with open(f"{name}.new", "w") as f: f.write(str(n))
      os.rename(f"{name}.new", f"{name}.{part}")
    if n % 50 == 0 and os.fork() == 0: os._exit(0)
    if n % 50 == 0: os.wait()
end = time.time() + 3
for p in range(4):
  if os.fork() == 0:
    threads = [threading.Thread(target=write, args=(f"{p}-{t}", end)) for t in range(3)]
    for t in threads: t.start()
    for t in threads: t.join()
    os._exit(0)
while True:
  try: os.wait()
  except ChildProcessError: break
)";

TEST_F(SnapshotTest, ACopyIsOfOneMoment) {
  Start(Options());
  int kept = 0, torn = 0, seen = 0;
  ShardRequest request = Python(kWriters);
  request.snapshots = {.every_ms = 20,
                       .copy =
                           [&](int work) {
                             for (int p = 0; p < 4; ++p) {
                               for (int t = 0; t < 3; ++t) {
                                 const std::string name =
                                     std::to_string(p) + "-" + std::to_string(t);
                                 const std::string a = Read(work, (name + ".a").c_str());
                                 std::this_thread::sleep_for(std::chrono::milliseconds(2));
                                 const std::string b = Read(work, (name + ".b").c_str());
                                 if (a.empty() || b.empty()) continue;
                                 ++seen;
                                 const int ahead = std::stoi(a) - std::stoi(b);
                                 if (ahead != 0 && ahead != 1) ++torn;
                               }
                             }
                           },
                       .keep = [&] { ++kept; }};
  const auto exit = session_->Run(request);
  ASSERT_TRUE(exit.ok()) << exit.status();
  EXPECT_EQ(exit->code, 0) << session_->Stderr(2000);
  EXPECT_GT(kept, 5);
  EXPECT_GT(seen, 50);
  EXPECT_EQ(torn, 0);
}

TEST_F(SnapshotTest, StandingStillLastsNoLongerThanTheCopyAndTouchesNothingElse) {
  Start(Options());
  int kept = 0;
  // The child stops itself: it must stay so.
  ShardRequest request = Python(R"(
import os, signal, time
child = os.fork()
if child == 0:
  os.kill(os.getpid(), signal.SIGSTOP)
  open("woken", "w").close()
  os._exit(0)
os.waitpid(child, os.WUNTRACED)
end = time.time() + 1
n = 0
while time.time() < end: n += 1
assert not os.path.exists("woken")
os.kill(child, signal.SIGCONT)
os.waitpid(child, 0)
print(os.path.exists("woken"))
)");
  request.snapshots = {.every_ms = 50, .copy = [](int) {}, .keep = [&] { ++kept; }};
  const auto exit = session_->Run(request);
  ASSERT_TRUE(exit.ok()) << exit.status();
  EXPECT_EQ(exit->code, 0) << session_->Stderr(2000);
  EXPECT_EQ(session_->Stdout(100), "True\n");
  EXPECT_GT(kept, 3);
  EXPECT_LT(exit->wall_us, 5'000'000);
}

TEST_F(SnapshotTest, AShardThatEndsMeanwhileIsHeard) {
  Start(Options());
  for (int i = 0; i < 40; ++i) {
    ShardRequest request;
    request.argv = {"/bin/sh", "-c", "sleep 0.0" + std::to_string(i % 10)};
    request.wall_ms = 5000;
    request.snapshots = {.every_ms = 5, .copy = [](int) {}, .keep = [] {}};
    const auto exit = session_->Run(request);
    ASSERT_TRUE(exit.ok()) << exit.status();
    ASSERT_EQ(exit->end, ShardEnd::kExited);
  }
}

// What is copied when the shard had to be let run, to end, may be of several moments.
TEST_F(SnapshotTest, ACopyThatWasInterruptedIsNotKept) {
  Start(Options());
  int copies = 0, kept = 0;
  ShardRequest request = Python("import time; time.sleep(60)", 500);
  request.snapshots = {.every_ms = 100,
                       .copy =
                           [&](int) {
                             if (++copies == 2) {
                               std::this_thread::sleep_for(std::chrono::milliseconds(800));
                             }
                           },
                       .keep = [&] { ++kept; }};
  const auto exit = session_->Run(request);
  ASSERT_TRUE(exit.ok()) << exit.status();
  EXPECT_EQ(exit->end, ShardEnd::kWallLimit);
  EXPECT_EQ(copies, 2);
  EXPECT_EQ(kept, 1);
}

TEST_F(SnapshotTest, AFrozenShardCanBeCancelled) {
  Start(Options());
  ShardRequest request = Python("import time; time.sleep(60)");
  request.snapshots = {.every_ms = 100,
                       .copy =
                           [&](int) {
                             session_->Cancel(0);
                             std::this_thread::sleep_for(std::chrono::milliseconds(100));
                           },
                       .keep = [] {}};
  const auto exit = session_->Run(request);
  ASSERT_TRUE(exit.ok()) << exit.status();
  EXPECT_EQ(exit->end, ShardEnd::kCancelled);
  EXPECT_LT(exit->wall_us, 5'000'000);
}

TEST_F(SnapshotTest, TheWorkFolderIsFilledBeforeTheCommandStarts) {
  Start(Options());
  ShardRequest request;
  request.argv = {"/bin/cat", "given"};
  request.wall_ms = 5000;
  request.prepare = [](int work) {
    const int fd = openat(work, "given", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    EXPECT_EQ(write(fd, "state", 5), 5);
    close(fd);
    return absl::OkStatus();
  };
  ASSERT_EQ(session_->Run(request)->code, 0) << session_->Stderr(1000);
  EXPECT_EQ(session_->Stdout(100), "state");
  EXPECT_EQ(Shell("cat given").exit.code, 1) << "the next shard finds it gone";
}

TEST_F(SnapshotTest, AFolderThatCannotBeFilledStartsNothing) {
  Start(Options());
  ShardRequest request;
  request.argv = {"/bin/echo", "started"};
  request.wall_ms = 5000;
  request.prepare = [](int work) {
    close(openat(work, "half", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    return absl::InvalidArgumentError("no such state");
  };
  EXPECT_THAT(session_->Run(request).status().ToString(), HasSubstr("no such state"));
  EXPECT_EQ(session_->Stdout(100), "");
  EXPECT_EQ(Shell("ls").out, "") << "the sandbox is good for the next";
}

}  // namespace
}  // namespace corpgrid::runner
