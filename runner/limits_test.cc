// The bounds of a shard, and that the session serves the next one after each is hit.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <string>
#include <thread>

#include "runner/sandboxed_test.h"

namespace corpgrid::runner {
namespace {

using testing::HasSubstr;

class LimitsTest : public SandboxedTest {
 protected:
  void TearDown() override {
    Result next = Shell("echo fine > /work/x && cat /work/x");
    EXPECT_EQ(next.out, "fine\n") << "the shard after";
    EXPECT_EQ(next.exit.end, ShardEnd::kExited);
  }
};

TEST_F(LimitsTest, WallTimeEndsWhatIgnoresSigterm) {
  Result polite = Run({"/bin/sleep", "20"}, 200);
  EXPECT_EQ(polite.exit.end, ShardEnd::kWallLimit);
  EXPECT_LT(polite.exit.wall_us, 1'200'000) << "not its second of grace";
  Result stubborn = Shell("trap '' TERM; while :; do sleep 1; done", 1000);
  EXPECT_EQ(stubborn.exit.end, ShardEnd::kWallLimit);
  EXPECT_GT(stubborn.exit.wall_us, 2'000'000) << "its second of grace";
  EXPECT_LT(stubborn.exit.wall_us, 8'000'000);
}

TEST_F(LimitsTest, ForkBombEndsAndTheMachineStaysWell) {
  Result bomb = Python(R"(
import os, time
n = 0
try:
    while True:
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
        n += 1
except OSError as e:
    print(n, e.strerror)
)");
  EXPECT_EQ(bomb.out, "63 Resource temporarily unavailable\n") << "64 with itself";
  Result classic = Shell("b() { b | b & }; b & exec sleep 10", 500);
  EXPECT_EQ(classic.exit.end, ShardEnd::kWallLimit);
  EXPECT_EQ(LeftOver(0).size(), 2u) << "bubblewrap and the runner";
  EXPECT_THAT(Python("import threading, time\n"
                     "try:\n  for i in range(100): threading.Thread(target=time.sleep, args=(9,), "
                     "daemon=True).start()\n"
                     "except RuntimeError: print('bounded', flush=True)\n")
                  .out,
              HasSubstr("bounded"))
      << "threads count too";
}

TEST_F(LimitsTest, EachSandboxCountsItsOwnProcesses) {
  Start(Options());
  auto other = Session::Start(Options());
  ASSERT_TRUE(other.ok());
  const std::string fifty = "for i in $(seq 50); do sleep 0.5 & done; wait; echo done";
  Result mine;
  ShardRequest request;
  request.argv = {"/bin/sh", "-c", fifty};
  request.wall_ms = 10'000;
  std::thread theirs([&] { EXPECT_TRUE((*other)->Run(request).ok()); });
  mine = Shell(fifty);
  theirs.join();
  EXPECT_EQ(mine.out, "done\n") << mine.err;
  EXPECT_EQ((*other)->Stdout(100), "done\n");
}

TEST_F(LimitsTest, DiskIsBoundedWhereverItIsWritten) {
  for (const char* file : {"/work/fill", "/tmp/fill", "/dev/shm/fill", "/var/tmp/fill"}) {
    Result full = Shell(std::string("dd if=/dev/zero of=") + file + " bs=1M count=100");
    EXPECT_EQ(full.exit.end, ShardEnd::kDiskLimit) << file << ": " << full.err;
    EXPECT_THAT(full.err, HasSubstr("No space left"));
  }
  Result shared = Shell("head -c 20M /dev/zero > /work/a; head -c 20M /dev/zero > /tmp/b");
  EXPECT_EQ(shared.exit.end, ShardEnd::kDiskLimit) << "one bound for all";
  Result files = Shell("seq 10000 | xargs touch");
  EXPECT_EQ(files.exit.end, ShardEnd::kDiskLimit) << "empty files are bounded too";
  Result copes = Shell("head -c 100M /dev/zero > a; rm a; echo coped");
  EXPECT_EQ(copes.exit.end, ShardEnd::kExited) << "it handled the error itself";
}

TEST_F(LimitsTest, MemoryHogIsKilled) {
  Result hog = Python("x = []\nwhile True: x.append(bytearray(b'x') * (1 << 20))\n");
  EXPECT_EQ(hog.exit.end, ShardEnd::kMemoryLimit);
  Result family = Python(
      "import os, time\n"
      "for i in range(8): \n"
      "  if os.fork() == 0: x = bytearray(b'x') * (60 << 20); time.sleep(10)\n"
      "time.sleep(10)\n");
  EXPECT_EQ(family.exit.end, ShardEnd::kMemoryLimit) << "together they are over";
  Result shared = Python(
      "import mmap, time\nm = mmap.mmap(-1, 400 << 20)\n"
      "for i in range(0, 400 << 20, 4096): m[i] = 1\n"
      "time.sleep(10)\n");
  EXPECT_EQ(shared.exit.end, ShardEnd::kMemoryLimit);
  Result hidden = Python(
      "import ctypes, mmap, time\nctypes.CDLL(None).prctl(4, 0)\n"
      "x = bytearray(b'x') * (400 << 20)\ntime.sleep(10)\n");
  EXPECT_EQ(hidden.exit.end, ShardEnd::kMemoryLimit) << "a process that is not dumpable";
}

TEST_F(LimitsTest, MemoryIsNotCountedTwice) {
  // 100 MiB in one process and its seven copies that only read it: 800 by the simple sum.
  Result copies = Python(
      "import os, time\n"
      "x = bytearray(b'x') * (100 << 20)\n"
      "for i in range(7): \n"
      "  if os.fork() == 0: time.sleep(0.4); os._exit(0)\n"
      "for i in range(7): os.wait()\n"
      "print('fine')\n");
  EXPECT_EQ(copies.out, "fine\n");
  EXPECT_EQ(copies.exit.end, ShardEnd::kExited);
}

TEST_F(LimitsTest, AddressSpaceIsNotMemory) {
  Result reserve = Python(
      "import mmap, time\nm = mmap.mmap(-1, 64 << 30, flags=0x4022)\n"
      "time.sleep(0.2)\nprint('fine')\n");
  EXPECT_EQ(reserve.out, "fine\n") << reserve.err;
}

TEST_F(LimitsTest, TheWorkFolderCountsAsMemory) {
  session_.reset();
  SandboxOptions options = Options();
  options.disk_bytes = 512 << 20;
  options.memory_bytes = 64 << 20;
  Start(options);
  EXPECT_EQ(Shell("head -c 200M /dev/zero > big; sleep 10").exit.end, ShardEnd::kMemoryLimit);
}

}  // namespace
}  // namespace corpgrid::runner
