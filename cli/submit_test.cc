#include "cli/submit.h"

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <memory>

#include "base/clock.h"
#include "cli/client.h"
#include "cli/results.h"
#include "corpgrid/v1/jobs.grpc.pb.h"
#include "corpgrid/v1/objects.grpc.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/connect.h"
#include "scheduler/scheduler.h"

namespace corpgrid::cli {
namespace {

namespace v1 = corpgrid::v1;
using ::testing::HasSubstr;

// Stands before a scheduler and loses its first answers to Submit.
class LossyGrid {
 public:
  LossyGrid(const rpc::GridFile& real, int lost) : grid_(real), jobs_(this), objects_(this) {
    lost_ = lost;
    const auto channel = *rpc::Connect(real.address);
    real_jobs_ = v1::Jobs::NewStub(channel);
    real_objects_ = v1::Objects::NewStub(channel);
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&jobs_);
    builder.RegisterService(&objects_);
    server_ = builder.BuildAndStart();
    grid_.address = "127.0.0.1:" + std::to_string(port);
  }
  ~LossyGrid() { server_->Shutdown(); }

  const rpc::GridFile& grid() const { return grid_; }
  int submits() const { return submits_; }

 private:
  struct Jobs final : v1::Jobs::Service {
    explicit Jobs(LossyGrid* grid) : grid(grid) {}
    grpc::Status GridInfo(grpc::ServerContext*, const v1::GridInfoRequest*,
                          v1::GridInfoResponse*) override {
      return grpc::Status::OK;
    }
    grpc::Status Submit(grpc::ServerContext*, const v1::SubmitRequest* request,
                        v1::SubmitResponse* response) override {
      grpc::ClientContext context;
      rpc::PrepareCall(&context, 10'000, rpc::kTokenKey, grid->grid_.token);
      const grpc::Status status = grid->real_jobs_->Submit(&context, *request, response);
      ++grid->submits_;
      if (status.ok() && grid->lost_-- > 0) return {grpc::StatusCode::UNAVAILABLE, "lost"};
      return status;
    }
    grpc::Status Get(grpc::ServerContext*, const v1::GetJobRequest* request,
                     v1::Job* response) override {
      grpc::ClientContext context;
      rpc::PrepareCall(&context, 10'000, rpc::kTokenKey, grid->grid_.token);
      return grid->real_jobs_->Get(&context, *request, response);
    }
    LossyGrid* const grid;
  };
  struct Objects final : v1::Objects::Service {
    explicit Objects(LossyGrid* grid) : grid(grid) {}
    grpc::Status Put(grpc::ServerContext*, grpc::ServerReader<v1::PutRequest>* reader,
                     v1::PutResponse* response) override {
      grpc::ClientContext context;
      rpc::PrepareCall(&context, 10'000, rpc::kTokenKey, grid->grid_.token);
      const auto writer = grid->real_objects_->Put(&context, response);
      v1::PutRequest part;
      while (reader->Read(&part)) writer->Write(part);
      writer->WritesDone();
      return writer->Finish();
    }
    LossyGrid* const grid;
  };

  rpc::GridFile grid_;
  std::atomic<int> lost_ = 0;
  std::atomic<int> submits_ = 0;
  std::unique_ptr<v1::Jobs::Stub> real_jobs_;
  std::unique_ptr<v1::Objects::Stub> real_objects_;
  Jobs jobs_;
  Objects objects_;
  std::unique_ptr<grpc::Server> server_;
};

// A scheduler in this process, without agents, and a job with a bundle and inputs.
class SubmitTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string folder = testing::TempDir() + "/submit-XXXXXX";
    folder_ = mkdtemp(folder.data());
    std::filesystem::create_directories(folder_ + "/grid");
    auto scheduler = scheduler::Scheduler::Start({.data_folder = folder_ + "/grid"});
    ASSERT_TRUE(scheduler.ok()) << scheduler.status();
    scheduler_ = *std::move(scheduler);
    auto client = Client::Open(folder_ + "/grid");
    ASSERT_TRUE(client.ok()) << client.status();
    client_ = *std::move(client);
    Write("bundle/count", std::string(300'000, 'c'));
    Write("texts/a.txt", "alpha");
    Write("texts/b.txt", std::string(3 << 20, 'b'));
    Write("job.yaml",
          "name: count\nbundle: ./bundle\nrun: {command: [./count, \"{input}\"]}\n"
          "inputs: texts/*.txt\noutputs: [counts.txt]\n");
  }
  void TearDown() override {
    client_.reset();
    if (scheduler_) scheduler_->Stop();
    scheduler_.reset();
    std::filesystem::remove_all(folder_);
  }

  void Write(const std::string& name, const std::string& text) {
    const std::filesystem::path path = folder_ + "/" + name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << text;
  }
  static void Ignore(std::string_view, uint64_t, uint64_t) {}
  absl::StatusOr<Submission> SubmitTo(Client& client, const std::string& key) {
    const absl::StatusOr<PreparedJob> job = PrepareJob(folder_ + "/job.yaml", {}, Ignore);
    if (!job.ok()) return job.status();
    return SubmitJob(client, key_, *job, key, Ignore);
  }
  int JobCount() { return client_->ListJobs(0, 100)->jobs_size(); }

  std::string folder_;
  std::unique_ptr<scheduler::Scheduler> scheduler_;
  std::unique_ptr<Client> client_;
  crypto::KeyPair key_ = crypto::KeyPair::Generate();
};

TEST_F(SubmitTest, MakesTheJobThatTheFileSays) {
  uint64_t last = 0;
  uint64_t total = 0;
  const auto job = PrepareJob(folder_ + "/job.yaml", {}, Ignore);
  ASSERT_TRUE(job.ok()) << job.status();
  const auto submission =
      SubmitJob(*client_, key_, *job, "k", [&](std::string_view stage, uint64_t done, uint64_t of) {
        EXPECT_EQ(stage, "uploading");
        EXPECT_GE(done, last);
        last = done;
        total = of;
      });
  ASSERT_TRUE(submission.ok()) << submission.status();
  EXPECT_FALSE(submission->existed);
  EXPECT_EQ(last, total) << "progress ends at all bytes";
  const auto made = client_->GetJob(submission->job_id);
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(made->spec(), job->spec_bytes);
  EXPECT_EQ(made->bundle_hash(), job->bundle_hash.Raw());
  EXPECT_EQ(made->shards(), 2u);
  EXPECT_EQ(made->submitter_key(), key_.public_key().ToText());
}

TEST_F(SubmitTest, OneJobAKey) {
  const auto first = SubmitTo(*client_, "nightly");
  ASSERT_TRUE(first.ok()) << first.status();
  const auto again = SubmitTo(*client_, "nightly");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->job_id, first->job_id);
  EXPECT_TRUE(again->existed);
  const auto other = SubmitTo(*client_, "another");
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_NE(other->job_id, first->job_id);
  EXPECT_EQ(JobCount(), 2);
}

TEST_F(SubmitTest, AKeyOfAnotherJobIsRefused) {
  ASSERT_TRUE(SubmitTo(*client_, "nightly").ok());
  Write("texts/a.txt", "changed");
  const auto changed = SubmitTo(*client_, "nightly");
  EXPECT_TRUE(absl::IsAlreadyExists(changed.status())) << changed.status();
  EXPECT_EQ(JobCount(), 1);
}

TEST_F(SubmitTest, ALostReplyMakesNoSecondJob) {
  LossyGrid lossy(*rpc::GridFile::Read(folder_ + "/grid"), 2);
  std::filesystem::create_directories(folder_ + "/lossy");
  ASSERT_TRUE(lossy.grid().Write(folder_ + "/lossy").ok());
  const auto client = Client::Open(folder_ + "/lossy");
  const auto submission = SubmitTo(**client, "k");
  ASSERT_TRUE(submission.ok()) << submission.status();
  EXPECT_EQ(lossy.submits(), 3);
  EXPECT_EQ(JobCount(), 1);
}

TEST_F(SubmitTest, AJobWithoutABundleNeedsNone) {
  Write("job.yaml", "name: hello\nrun: {command: [/bin/true]}\n");
  const auto submission = SubmitTo(*client_, "k");
  ASSERT_TRUE(submission.ok()) << submission.status();
  EXPECT_EQ(client_->GetJob(submission->job_id)->bundle_hash(), crypto::Blake3("").Raw());
}

TEST_F(SubmitTest, AFileThatChangesMeanwhileIsTold) {
  const auto job = PrepareJob(folder_ + "/job.yaml", {}, Ignore);
  ASSERT_TRUE(job.ok());
  Write("texts/a.txt", "ALPHA");
  const auto submission = SubmitJob(*client_, key_, *job, "k", Ignore);
  EXPECT_TRUE(absl::IsAborted(submission.status())) << submission.status();
  EXPECT_THAT(std::string(submission.status().message()), HasSubstr("input/a.txt"));
  EXPECT_EQ(JobCount(), 0);
}

TEST_F(SubmitTest, NothingToFetchBeforeAShardIsDone) {
  const auto submission = SubmitTo(*client_, "k");
  ASSERT_TRUE(submission.ok()) << submission.status();
  const auto download =
      DownloadResults(*client_, submission->job_id, folder_ + "/out", [](uint64_t, uint64_t) {});
  EXPECT_TRUE(absl::IsNotFound(download.status())) << download.status();
}

TEST_F(SubmitTest, AGridThatIsGoneIsToldAtOnce) {
  rpc::GridFile grid = *rpc::GridFile::Read(folder_ + "/grid");
  grid.address = "127.0.0.1:1";
  grid.pid = 4'000'000;  // above the largest process id
  std::filesystem::create_directories(folder_ + "/gone");
  ASSERT_TRUE(grid.Write(folder_ + "/gone").ok());
  const auto client = Client::Open(folder_ + "/gone");
  const int64_t start_ms = SystemClock().MonotonicMs();
  const auto jobs = (*client)->ListJobs(0, 1);
  EXPECT_TRUE(absl::IsUnavailable(jobs.status()));
  EXPECT_THAT(std::string(jobs.status().message()), HasSubstr("is not running"));
  EXPECT_LT(SystemClock().MonotonicMs() - start_ms, 3000);
  EXPECT_TRUE(absl::IsUnavailable(Client::Open(folder_ + "/nowhere").status()));
}

}  // namespace
}  // namespace corpgrid::cli
