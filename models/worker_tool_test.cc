#include "models/worker_tool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/testing/temp_folder.h"
#include "models/test_models.h"

namespace corpgrid::models {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class WorkerToolTest : public ::testing::Test {
 protected:
  // A program that does what a shell script says.
  WorkerProgram Program(const std::string& script) {
    return ScriptProgram(folder_ / "worker", script);
  }

  testing::TempFolder folder_;
};

TEST_F(WorkerToolTest, ProgressAndResult) {
  std::vector<double> progress;
  const auto result =
      RunWorkerTool(Program("echo '{\"progress\": 0.5}'; echo noise; echo \"{\\\"result\\\": "
                            "{\\\"file\\\": \\\"$2\\\"}}\""),
                    {"inspect", "a b"}, [&](double fraction) { progress.push_back(fraction); });
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ((*result)["file"], "a b");
  EXPECT_THAT(progress, ElementsAre(0.5));
}

TEST_F(WorkerToolTest, ItsErrorsAreOurs) {
  const auto result = RunWorkerTool(
      Program("echo '{\"error\": {\"code\": 3, \"message\": \"no model\"}}'; exit 1"), {"inspect"});
  EXPECT_EQ(result.status(), absl::InvalidArgumentError("no model"));
}

TEST_F(WorkerToolTest, ACrashIsAnErrorWithItsLastWords) {
  const auto result = RunWorkerTool(
      Program("yes early | head -c 100000 >&2; echo GGML_ASSERT >&2; kill -ABRT $$"), {"inspect"});
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInternal);
  const std::string message(result.status().message());
  EXPECT_THAT(message, HasSubstr("by signal 6"));
  EXPECT_TRUE(message.ends_with("GGML_ASSERT")) << message;
  EXPECT_LT(message.size(), 1000u);
}

TEST_F(WorkerToolTest, NonsenseIsAnError) {
  for (const char* script :
       {"exit 0", "echo '[]'", "echo '{\"result\": null}'", "echo '{\"error\": 1}'; exit 3"}) {
    EXPECT_EQ(RunWorkerTool(Program(script), {"inspect"}).status().code(),
              absl::StatusCode::kInternal)
        << script;
  }
  const auto facts =
      InspectFile(Program("echo '{\"result\": {\"facts\": {\"layers\": \"many\"}}}'"), "x", false);
  EXPECT_THAT(std::string(facts.status().message()), HasSubstr("layers"));
}

TEST_F(WorkerToolTest, ItIsEndedWhenItTakesTooLongOrNobodyWaits) {
  WorkerProgram slow = Program("exec sleep 600");
  slow.timeout_ms = 50;
  EXPECT_EQ(RunWorkerTool(slow, {}).status().code(), absl::StatusCode::kDeadlineExceeded);
  const std::atomic<bool> stop = true;
  slow.stop = &stop;
  EXPECT_EQ(RunWorkerTool(slow, {}).status().code(), absl::StatusCode::kCancelled);
  WorkerProgram none;
  none.path = folder_ / "none";
  EXPECT_EQ(RunWorkerTool(none, {}).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace corpgrid::models
