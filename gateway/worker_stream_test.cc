#include "gateway/worker_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/strand.hpp>
#include <thread>

#include "corpgrid/v1/worker.pb.h"

namespace corpgrid::gateway {
namespace {

namespace asio = boost::asio;
namespace pb = corpgrid::v1;

// A channel that a test speaks through, from a thread of its own.
class TestChannel final : public rpc::WorkerChannel {
 public:
  std::unique_ptr<rpc::WorkerCall> Start(std::string_view method, const std::string& request,
                                         std::shared_ptr<rpc::CallListener> heard) override {
    struct Call final : rpc::WorkerCall {
      explicit Call(std::atomic<int>* cancels) : cancels(cancels) {}
      ~Call() override { ++*cancels; }
      std::atomic<int>* const cancels;
    };
    asked = std::string(method) + " " + request;
    listener = std::move(heard);
    return std::make_unique<Call>(&cancels);
  }

  std::string asked;
  std::shared_ptr<rpc::CallListener> listener;
  std::atomic<int> cancels = 0;
};

std::string Answer(int tokens) {
  pb::TokenizeResponse response;
  for (int i = 0; i < tokens; ++i) response.add_tokens(i);
  return response.SerializeAsString();
}

class WorkerStreamTest : public ::testing::Test {
 protected:
  // How many tokens each response had, and how it ended.
  Task<void> ReadAll(TimePoint deadline = TimePoint::max()) {
    const auto strand = co_await asio::this_coro::executor;
    WorkerStream<pb::TokenizeResponse> stream(strand, &channel_, "Tokenize", pb::TokenizeRequest());
    started_ = true;
    while (true) {
      auto response = co_await stream.Next(deadline);
      if (!response.ok() || !response->has_value()) {
        end_ = response.status();
        co_return;
      }
      sizes_.push_back((*response)->tokens_size());
    }
  }

  void Spawn() {
    asio::co_spawn(asio::make_strand(context_), ReadAll(),
                   asio::bind_cancellation_slot(cancel_.slot(), [this](std::exception_ptr error) {
                     cancelled_ = error != nullptr;
                   }));
  }

  TestChannel channel_;
  asio::io_context context_;
  asio::cancellation_signal cancel_;
  bool started_ = false, cancelled_ = false;
  absl::Status end_ = absl::UnknownError("it goes on");
  std::vector<int> sizes_;
};

TEST_F(WorkerStreamTest, HearsAllOfAnotherThreadAndTheEnd) {
  Spawn();
  while (!started_) context_.run_one();
  EXPECT_EQ(channel_.asked, "Tokenize ");
  constexpr int kResponses = 5000;
  std::thread speaker([this] {
    for (int i = 0; i < kResponses; ++i) channel_.listener->OnResponse(Answer(i % 7));
    channel_.listener->OnEnd(absl::OkStatus());
  });
  context_.run();
  speaker.join();
  EXPECT_TRUE(end_.ok()) << end_;
  ASSERT_EQ(sizes_.size(), static_cast<size_t>(kResponses));
  for (int i = 0; i < kResponses; ++i) EXPECT_EQ(sizes_[i], i % 7);
}

TEST_F(WorkerStreamTest, TellsAnErrorAfterWhatCameBefore) {
  Spawn();
  while (!started_) context_.run_one();
  channel_.listener->OnResponse(Answer(2));
  channel_.listener->OnEnd(absl::UnavailableError("the worker is gone"));
  context_.run();
  EXPECT_THAT(sizes_, ::testing::ElementsAre(2));
  EXPECT_EQ(end_.message(), "the worker is gone");
}

TEST_F(WorkerStreamTest, DoesNotWaitForEver) {
  asio::co_spawn(asio::make_strand(context_),
                 ReadAll(std::chrono::steady_clock::now() + std::chrono::milliseconds(50)),
                 asio::detached);
  context_.run();
  EXPECT_EQ(end_.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(channel_.cancels, 1);
}

TEST_F(WorkerStreamTest, WhatNobodyReadsHasABound) {
  Spawn();
  while (!started_) context_.run_one();
  const std::string large = Answer(4 << 20);
  const size_t fit = RawStream::kMaxWaitingBytes / large.size();
  for (size_t i = 0; i < fit + 3; ++i) channel_.listener->OnResponse(large);
  channel_.listener->OnEnd(absl::OkStatus());
  context_.run();
  EXPECT_EQ(sizes_.size(), fit);
  EXPECT_EQ(end_.code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(WorkerStreamTest, SaysWhatItCannotRead) {
  Spawn();
  while (!started_) context_.run_one();
  channel_.listener->OnResponse("\xff\xff\xff");
  context_.run();
  EXPECT_EQ(end_.code(), absl::StatusCode::kInternal);
}

TEST_F(WorkerStreamTest, WhoGoesCancelsTheCallAndHearsNoMore) {
  Spawn();
  while (!started_) context_.run_one();
  EXPECT_EQ(channel_.cancels, 0);
  cancel_.emit(asio::cancellation_type::terminal);
  context_.run();
  EXPECT_TRUE(cancelled_);
  EXPECT_EQ(channel_.cancels, 1);
  channel_.listener->OnResponse(Answer(1));  // still on its way
  channel_.listener->OnEnd(absl::CancelledError("it was cancelled"));
  context_.restart();
  EXPECT_EQ(context_.run(), 0u) << "what nobody reads wakes somebody";
}

TEST(FitsTest, AChoiceThatNobodyAskedForIsNoAnswer) {
  corpgrid::v1::GenerateResponse response;
  response.add_pieces()->set_choice(1);
  EXPECT_TRUE(Fits(response, 2));
  EXPECT_FALSE(Fits(response, 1));
  response.mutable_pieces(0)->set_choice(0);
  response.add_ends()->set_choice(4'000'000'000);
  EXPECT_FALSE(Fits(response, 2));
}

}  // namespace
}  // namespace corpgrid::gateway
