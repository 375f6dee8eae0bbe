#include "worker/worker_process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "base/testing/temp_folder.h"

namespace corpgrid::worker {
namespace {

using ::testing::HasSubstr;

// Programs that stand in for a worker: what matters is how they begin and end.
class WorkerProcessTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<WorkerProcess>> Start(const std::string& script,
                                                       int64_t start_ms = 20'000) {
    const std::string program = folder_ / "program";
    std::ofstream(program) << "#!/bin/sh\n" << script << "\n";
    ::chmod(program.c_str(), 0700);
    return WorkerProcess::Start(
        {.program = program, .folder = folder_.path(), .model = "", .start_ms = start_ms});
  }

  static std::string WaitForEnd(WorkerProcess* worker) {
    std::optional<std::string> end;
    while (!(end = worker->Ended())) ::usleep(1000);
    return *end;
  }

  testing::TempFolder folder_;
};

TEST_F(WorkerProcessTest, TellsHowAWorkerEndedAndItsLastWords) {
  auto worker = Start(
      "echo ready; read line < /dev/null; echo first >&2; echo 'GGML_ASSERT(false) failed' >&2; "
      "kill -ABRT $$");
  ASSERT_TRUE(worker.ok()) << worker.status();
  EXPECT_EQ((*worker)->address(), "unix:" + folder_ / "worker.sock");
  EXPECT_EQ(WaitForEnd(worker->get()),
            "ended by signal 6; its last words: first / GGML_ASSERT(false) failed");
}

TEST_F(WorkerProcessTest, OfManyWordsTheLastAreTold) {
  auto worker = Start("echo ready; for i in $(seq 1 2000); do echo line $i >&2; done; exit 3");
  ASSERT_TRUE(worker.ok()) << worker.status();
  const std::string end = WaitForEnd(worker->get());
  EXPECT_THAT(end, ::testing::StartsWith("ended with exit status 3; its last words: line 1"));
  EXPECT_THAT(end, ::testing::EndsWith(" / line 1999 / line 2000"));
  EXPECT_LT(end.size(), 1500u);
}

TEST_F(WorkerProcessTest, AWorkerThatDoesNotStartSaysWhy) {
  EXPECT_THAT(Start("echo no library >&2; exit 1").status().message(),
              HasSubstr("exit status 1; its last words: no library"));
  EXPECT_THAT(Start("echo slow >&2; exec sleep 60", 300).status().message(),
              HasSubstr("does not listen after 300 ms; its last words: slow"));
  EXPECT_TRUE(absl::IsNotFound(
      WorkerProcess::Start(
          {.program = "/absent/program", .folder = folder_.path(), .model = "", .start_ms = 1000})
          .status()));
}

TEST_F(WorkerProcessTest, StopsInOrderOrByForce) {
  auto orderly = Start("trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done");
  ASSERT_TRUE(orderly.ok()) << orderly.status();
  EXPECT_EQ((*orderly)->Ended(), std::nullopt);
  (*orderly)->Stop(20'000);
  EXPECT_EQ((*orderly)->Ended(), "ended with exit status 0");
  auto stubborn = Start("trap '' TERM; echo ready; while :; do sleep 0.01; done");
  ASSERT_TRUE(stubborn.ok()) << stubborn.status();
  (*stubborn)->Stop(50);
  EXPECT_EQ((*stubborn)->Ended(), "ended by signal 9");
}

}  // namespace
}  // namespace corpgrid::worker
