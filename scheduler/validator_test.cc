#include "scheduler/validator.h"

#include <chrono>
#include <string>
#include <thread>

#include "base/testing/temp_folder.h"
#include "fmt/format.h"
#include "gtest/gtest.h"

namespace corpgrid::scheduler {
namespace {

// Stands for the other process: a shell that speaks on descriptor 3.
class ValidatorTest : public ::testing::Test {
 protected:
  ValidatorTest() : objects_(*objects::OpenLocalStore(folder_ / "objects")) {}

  static std::vector<std::string> Shell(const std::string& script) {
    return {"/bin/sh", "-c", script, "folder"};
  }

  static JobInfo Job() {
    job::JobFields fields;
    fields.name = "test";
    fields.command = {"/bin/true"};
    return {.row = {}, .spec = *job::JobSpec::Make(std::move(fields))};
  }

  const corpgrid::testing::TempFolder folder_;
  const std::unique_ptr<objects::ObjectStore> objects_;
};

// An empty frame; and one that says why it cannot tell.
constexpr char kWell[] = R"(printf '\0\0\0\0\0\0\0\0' >&3;)";
constexpr char kNoRoom[] = R"(printf '\010\0\0\0\0\0\0\0?no room' >&3;)";

TEST_F(ValidatorTest, TellsWhatTheOtherProcessSaidBeforeItEnded) {
  Validator validator(Shell(fmt::format("{}{}", kWell, kNoRoom)), objects_.get());
  EXPECT_EQ(validator.Difference(Job(), {}, {}).status(), absl::UnavailableError("no room"));
}

TEST_F(ValidatorTest, AComplaintIsWhyNothingCanRun) {
  Validator validator(Shell(R"(printf '\010\0\0\0\0\0\0\0no bwrap' >&3)"), objects_.get());
  EXPECT_EQ(validator.Check(), absl::FailedPreconditionError("no bwrap"));
  EXPECT_EQ(validator.Difference(Job(), {}, {}).status(), absl::UnavailableError("no bwrap"));
}

TEST_F(ValidatorTest, AnInterruptDoesNotWaitForACheck) {
  Validator validator(Shell("echo > " + (folder_ / "begun") + "; sleep 3"), objects_.get());
  std::thread check([&] { EXPECT_FALSE(validator.Check().ok()); });
  while (access((folder_ / "begun").c_str(), F_OK) != 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  const auto before = std::chrono::steady_clock::now();
  validator.Interrupt();  // the core's thread calls it
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(1));
  check.join();
}

}  // namespace
}  // namespace corpgrid::scheduler
