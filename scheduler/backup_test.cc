#include "scheduler/backup.h"

#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "base/testing/small_disk.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "scheduler/test_scheduler.h"

namespace corpgrid::scheduler {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

void Quiet(uint64_t, uint64_t) {}

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void WriteFile(const std::string& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

// Backups of a scheduler that runs, with a job that is done.
class BackupTest : public SchedulerTest {
 protected:
  BackupTest() {
    pb::SubmitResponse submitted;
    EXPECT_TRUE(Submit("key", &submitted).ok());
    job_ = submitted.job_id();
    ann_ = Agent("ann");
    const pb::PollJobsResponse work = ann_->Poll(1, 1000);
    EXPECT_TRUE(ann_->Upload(work.leases(0), "out", data_).ok());
    EXPECT_TRUE(ann_->HandIn(ann_->MakeResult(work.jobs(0), work.leases(0), data_)).accepted());
  }

  absl::StatusOr<BackupReport> Make() { return Backup(folder_.path(), "", file_, Quiet); }
  absl::StatusOr<BackupReport> RestoreFrom(const std::string& file) {
    return Restore(file, target_, "", Quiet);
  }

  // Nothing is left that could be taken for a grid.
  void ExpectNothingRestored() const {
    for (const auto& entry : fs::directory_iterator(other_.path())) {
      EXPECT_FALSE(entry.path().string().starts_with(target_)) << entry.path();
    }
  }

  const std::string data_ = fmt::format("{:150000}", "x");  // more than fits the index
  testing::TempFolder other_;
  const std::string file_ = other_ / "grid.tar";
  const std::string target_ = other_ / "restored";
  uint64_t job_ = 0;
  std::unique_ptr<TestAgent> ann_;
};

TEST_F(BackupTest, WhatIsRestoredIsTheGridAsItWas) {
  const absl::StatusOr<BackupReport> made = Make();
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->grid_id, grid_.grid_id);
  EXPECT_EQ(made->jobs, 1u);
  EXPECT_EQ(made->chunks, 1u);
  EXPECT_EQ(fs::file_size(file_), made->bytes);
  EXPECT_EQ(fs::status(file_).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  pb::SubmitResponse later;
  ASSERT_TRUE(Submit("later", &later).ok());
  scheduler_->Stop();
  scheduler_.reset();

  ASSERT_TRUE(fs::create_directory(target_)) << "an empty one may be there";
  const absl::StatusOr<BackupReport> restored = RestoreFrom(file_);
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_EQ(restored->chunks, 1u);
  auto started = Scheduler::Start({.data_folder = target_, .listen = listen_});
  ASSERT_TRUE(started.ok()) << started.status();
  EXPECT_EQ(rpc::GridFile::Read(target_)->token, grid_.token) << "people keep theirs";
  EXPECT_TRUE(ann_->Register("").ok()) << "and devices their identities";
  EXPECT_EQ(JobNow(job_).state(), "done");
  pb::GetJobRequest get;
  get.set_job_id(later.job_id());
  pb::Job job;
  EXPECT_EQ(Call(&pb::Jobs::Stub::Get, get, &job).error_code(), grpc::StatusCode::NOT_FOUND);
  rpc::ObjectsClient people(objects_.get(), rpc::kTokenKey, grid_.token);
  std::string out;
  EXPECT_TRUE(people
                  .Get(pb::Grant(), crypto::Blake3(data_), data_.size(),
                       [&](std::string_view part) {
                         out.append(part);
                         return absl::OkStatus();
                       })
                  .ok());
  EXPECT_EQ(out, data_);
  (*started)->Stop();
}

TEST_F(BackupTest, AStoppedGridIsBackedUpAsWell) {
  scheduler_->Stop();
  scheduler_.reset();
  ASSERT_TRUE(Make().ok());
  EXPECT_TRUE(RestoreFrom(file_).ok());
}

TEST_F(BackupTest, NothingIsOverwritten) {
  ASSERT_TRUE(Make().ok());
  const std::string before = ReadFile(file_);
  EXPECT_TRUE(absl::IsAlreadyExists(Make().status()));
  EXPECT_EQ(ReadFile(file_), before);
  fs::create_directory(target_);
  WriteFile(target_ + "/something", "of value");
  EXPECT_TRUE(absl::IsFailedPrecondition(RestoreFrom(file_).status()));
  EXPECT_EQ(ReadFile(target_ + "/something"), "of value");
  EXPECT_TRUE(absl::IsNotFound(Backup(other_.path(), "", other_ / "none.tar", Quiet).status()));
}

TEST_F(BackupTest, WhatIsCutOffOrChangedAnywhereIsRefused) {
  ASSERT_TRUE(Make().ok());
  const std::string whole = ReadFile(file_);
  const std::string bad = other_ / "bad.tar";
  constexpr size_t kSteps = 40;
  for (size_t i = 0; i < kSteps; ++i) {
    const size_t at = whole.size() * i / kSteps + i % 512;
    WriteFile(bad, std::string_view(whole).substr(0, at));
    EXPECT_TRUE(absl::IsDataLoss(RestoreFrom(bad).status())) << "cut at " << at;
    ExpectNothingRestored();
  }
  // A byte of each part, of the manifest too; the padding of the archive may be anything.
  for (const char* const name :
       {"scheduler/secret", "scheduler/state.db", "scheduler/objects/index.db",
        "scheduler/objects/chunks", "manifest.json"}) {
    const size_t header = whole.find(name);
    ASSERT_NE(header, std::string::npos) << name;
    for (const size_t offset : {size_t{0}, size_t{512}, size_t{520}}) {
      std::string changed = whole;
      changed[header + offset] ^= 1;
      WriteFile(bad, changed);
      EXPECT_TRUE(absl::IsDataLoss(RestoreFrom(bad).status())) << name << " + " << offset;
      ExpectNothingRestored();
    }
  }
  EXPECT_TRUE(RestoreFrom(file_).ok());
}

TEST_F(BackupTest, ADamagedObjectIsSaidAndNotBackedUp) {
  for (const auto& entry :
       fs::recursive_directory_iterator(folder_.path() + "/scheduler/objects/chunks")) {
    if (entry.is_regular_file()) WriteFile(entry.path(), data_ + "?");
  }
  const absl::Status status = Make().status();
  EXPECT_TRUE(absl::IsDataLoss(status));
  EXPECT_THAT(status.message(), HasSubstr("damaged"));
  EXPECT_FALSE(fs::exists(file_));
}

TEST_F(BackupTest, AFullDiskLeavesNothingBehind) {
  ASSERT_TRUE(Make().ok());
  scheduler_->Stop();
  scheduler_.reset();
  const auto on_small_disk = [&](uint64_t bytes) {
    const std::string disk = other_ / "disk";
    if (!testing::MountSmallDisk(disk, bytes)) _exit(77);
    const absl::Status made = Backup(folder_.path(), "", disk + "/grid.tar", Quiet).status();
    const absl::Status restored = Restore(file_, disk + "/restored", "", Quiet).status();
    const bool told = absl::IsResourceExhausted(made) && absl::IsResourceExhausted(restored);
    _exit(told && fs::is_empty(disk) ? 0 : 1);
  };
  fs::create_directory(other_ / "disk");
  for (const uint64_t bytes : {64u << 10, 160u << 10, 256u << 10}) {
    const auto well = [](int status) {
      return WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77);
    };
    EXPECT_EXIT(on_small_disk(bytes), well, "") << bytes;
  }
}

}  // namespace
}  // namespace corpgrid::scheduler
