#include "gateway/grid_models.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <set>

#include "absl/time/clock.h"
#include "base/testing/temp_folder.h"
#include "corpgrid/v1/worker.pb.h"
#include "rpc/connect.h"

namespace corpgrid::gateway {
namespace {

namespace pb = corpgrid::v1;

// Less than a model may take to say what it is.
constexpr absl::Duration kPatience = absl::Seconds(6);

bool Within(absl::Duration most, const std::function<bool()>& done) {
  const absl::Time end = absl::Now() + most;
  while (!done()) {
    if (absl::Now() > end) return false;
    absl::SleepFor(absl::Milliseconds(10));
  }
  return true;
}

// A scheduler with models whose workers tell nothing but their context.
class FakeScheduler final : public pb::ModelHosting::Service {
 public:
  void Host(const std::string& name, uint32_t context) {
    const absl::MutexLock lock(&mutex_);
    contexts_[name] = context;
  }
  // Calls to the model are answered when it is released.
  void Hold(const std::string& name) {
    const absl::MutexLock lock(&mutex_);
    held_.insert(name);
  }
  void Release(const std::string& name) {
    const absl::MutexLock lock(&mutex_);
    held_.erase(name);
  }
  bool Asked(const std::string& name) const {
    const absl::MutexLock lock(&mutex_);
    return asked_.contains(name);
  }
  int lists() const {
    const absl::MutexLock lock(&mutex_);
    return lists_;
  }

  grpc::Status List(grpc::ServerContext*, const pb::ListModelsRequest*,
                    pb::ListModelsResponse* response) override {
    const absl::MutexLock lock(&mutex_);
    ++lists_;
    for (const auto& [name, context] : contexts_) {
      pb::LoadedModel* model = response->add_models();
      model->set_name(name);
      model->set_digest("of " + name);
      model->mutable_settings()->set_context(context);
      model->add_replicas()->mutable_hosted()->set_state(pb::HostedModel::READY);
    }
    return grpc::Status::OK;
  }

  grpc::Status Call(grpc::ServerContext* call, const pb::CallRequest* request,
                    grpc::ServerWriter<pb::CallResponse>* writer) override {
    pb::LoadResponse loaded;
    {
      const absl::MutexLock lock(&mutex_);
      asked_.insert(request->model());
      loaded.set_context(contexts_.at(request->model()));
    }
    while (IsHeld(request->model()) && !call->IsCancelled()) {
      absl::SleepFor(absl::Milliseconds(5));
    }
    pb::CallResponse response;
    response.set_response(loaded.SerializeAsString());
    writer->Write(response);
    return grpc::Status::OK;
  }

 private:
  bool IsHeld(const std::string& name) const {
    const absl::MutexLock lock(&mutex_);
    return held_.contains(name);
  }

  mutable absl::Mutex mutex_;
  std::map<std::string, uint32_t> contexts_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> held_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> asked_ ABSL_GUARDED_BY(mutex_);
  int lists_ ABSL_GUARDED_BY(mutex_) = 0;
};

class GridModelsTest : public ::testing::Test {
 protected:
  GridModelsTest() {
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&scheduler_);
    server_ = builder.BuildAndStart();
    rpc::GridFile grid;
    grid.address = "127.0.0.1:" + std::to_string(port);
    grid.token = "token";
    EXPECT_TRUE(grid.Write(folder_.path()).ok());
  }
  ~GridModelsTest() override { server_->Shutdown(); }

  testing::TempFolder folder_;
  FakeScheduler scheduler_;
  std::unique_ptr<grpc::Server> server_;
};

TEST_F(GridModelsTest, AModelThatDoesNotAnswerHoldsUpNoOther) {
  scheduler_.Host("slow", 4096);
  scheduler_.Hold("slow");
  const auto models = GridModels::Start(folder_.path());
  ASSERT_TRUE(models.ok()) << models.status();
  EXPECT_TRUE(Within(kPatience, [&] { return scheduler_.Asked("slow"); }));
  scheduler_.Host("quick", 512);
  EXPECT_TRUE(Within(kPatience, [&] { return (*models)->Find("quick").ok(); }));
  EXPECT_TRUE(absl::IsUnavailable((*models)->Find("slow").status()));
  scheduler_.Release("slow");
  EXPECT_TRUE(Within(kPatience, [&] { return (*models)->Find("slow").ok(); }));
}

TEST_F(GridModelsTest, WhatAModelWasBeforeItWasLoadedAnewIsForgotten) {
  scheduler_.Host("model", 4096);
  scheduler_.Hold("model");
  const auto models = GridModels::Start(folder_.path());
  ASSERT_TRUE(models.ok()) << models.status();
  EXPECT_TRUE(Within(kPatience, [&] { return scheduler_.Asked("model"); }));
  scheduler_.Host("model", 512);
  const int before = scheduler_.lists();
  // When the second is asked for, the first was read, and it had the change.
  EXPECT_TRUE(Within(kPatience, [&] { return scheduler_.lists() >= before + 2; }));
  scheduler_.Release("model");
  EXPECT_TRUE(Within(kPatience, [&] { return (*models)->Find("model").ok(); }));
  const auto model = (*models)->Find("model");
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->info.context, 512u);
}

}  // namespace
}  // namespace corpgrid::gateway
