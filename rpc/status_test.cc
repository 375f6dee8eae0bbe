#include "rpc/status.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <thread>
#include <vector>

#include "corpgrid/v1/scheduler.grpc.pb.h"

namespace corpgrid::rpc {
namespace {

class Slow final : public corpgrid::v1::Scheduler::Service {
 public:
  grpc::Status Heartbeat(grpc::ServerContext*, const corpgrid::v1::HeartbeatRequest*,
                         corpgrid::v1::HeartbeatResponse*) override {
    release.wait();
    return grpc::Status::OK;
  }
  std::latch release{1};
};

// Agents took it for a refusal for good: with more than 64 of them calling at once, results were
// thrown away.
TEST(StatusTest, AServerWithoutAThreadLeftIsUnavailable) {
  constexpr int kCalls = 16;
  Slow service;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  builder.SetResourceQuota(grpc::ResourceQuota("test").SetMaxThreads(4));
  const auto server = builder.BuildAndStart();
  const auto stub = corpgrid::v1::Scheduler::NewStub(
      grpc::CreateChannel("127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials()));
  std::atomic<int> served = 0, busy = 0;
  std::latch first_busy(1);
  std::vector<std::thread> callers;
  for (int i = 0; i < kCalls; ++i) {
    callers.emplace_back([&] {
      grpc::ClientContext context;
      corpgrid::v1::HeartbeatResponse reply;
      const absl::Status status = FromGrpc(stub->Heartbeat(&context, {}, &reply));
      if (status.ok()) {
        ++served;
      } else {
        EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
        if (busy++ == 0) first_busy.count_down();
      }
    });
  }
  first_busy.wait();
  service.release.count_down();
  for (std::thread& caller : callers) caller.join();
  EXPECT_GT(served, 0);
  EXPECT_EQ(served + busy, kCalls);
}

TEST(StatusTest, KeepsCodeAndMessage) {
  const absl::Status asked_too_much = absl::ResourceExhaustedError("more than 64 MiB");
  EXPECT_EQ(FromGrpc(ToGrpc(asked_too_much)), asked_too_much);
  EXPECT_EQ(FromGrpc(grpc::Status::OK), absl::OkStatus());
}

TEST(StatusTest, FactsCrossWithTheWords) {
  corpgrid::v1::ErrorFacts facts;
  facts.set_needs_bytes(uint64_t{1} << 40);
  facts.set_retry_after_s(7);
  const absl::Status told = WithFacts(absl::FailedPreconditionError("too large"), facts);
  const absl::Status heard = FromGrpc(ToGrpc(told));
  EXPECT_EQ(heard, told);
  EXPECT_EQ(FactsOf(heard).needs_bytes(), uint64_t{1} << 40);
  EXPECT_EQ(FactsOf(heard).retry_after_s(), 7u);
  EXPECT_EQ(FactsOf(absl::UnknownError("")).needs_bytes(), 0u);
  // Others' details are no facts.
  const grpc::Status other(grpc::StatusCode::INTERNAL, "x", "\xff\xff no message");
  EXPECT_EQ(FactsOf(FromGrpc(other)).needs_bytes(), 0u);
}

// An agent took it for a refusal and ended, when the scheduler was stopped for an upgrade while it
// registered.
TEST(StatusTest, ACallThatAStoppingServerCancelsIsUnavailable) {
  EXPECT_EQ(FromGrpc(grpc::Status::CANCELLED).code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace corpgrid::rpc
