#include "agent/model_inbox.h"

#include <atomic>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::agent {
namespace {

namespace pb = corpgrid::v1;
using ::testing::HasSubstr;

class Heard final : public rpc::CallListener {
 public:
  void OnResponse(std::string response) override { responses.push_back(std::move(response)); }
  void OnEnd(absl::Status status) override {
    end = std::move(status);
    over.Notify();
  }

  std::vector<std::string> responses;
  absl::Status end;
  absl::Notification over;
};

std::shared_ptr<Heard> Ask(ModelInbox& inbox, std::string_view method,
                           const std::string& request = "") {
  auto heard = std::make_shared<Heard>();
  inbox.Start(method, request, heard);
  return heard;
}

TEST(ModelInboxTest, AnswersWhatTheAgentIsAskedFor) {
  ModelInbox inbox({.take = [](const pb::TakeModelRequest& request,
                               const std::atomic<bool>&) -> absl::StatusOr<pb::TakeModelResponse> {
                      if (request.model() == "bad") return absl::DataLossError("other bytes");
                      pb::TakeModelResponse response;
                      response.set_offset(request.offset() + 1);
                      return response;
                    },
                    .remove =
                        [](const std::string& model) {
                          return model == "there" ? absl::OkStatus() : absl::NotFoundError(model);
                        }},
                   nullptr);
  pb::TakeModelRequest take;
  take.set_offset(41);
  const auto taken = Ask(inbox, "TakeModel", take.SerializeAsString());
  taken->over.WaitForNotification();
  ASSERT_TRUE(taken->end.ok()) << taken->end;
  pb::TakeModelResponse response;
  ASSERT_TRUE(response.ParseFromString(taken->responses.at(0)));
  EXPECT_EQ(response.offset(), 42u);
  take.set_model("bad");
  const auto bad = Ask(inbox, "TakeModel", take.SerializeAsString());
  bad->over.WaitForNotification();
  EXPECT_EQ(bad->end, absl::DataLossError("other bytes"));
  EXPECT_TRUE(bad->responses.empty());
  for (const auto& [model, found] : {std::pair("there", true), std::pair("gone", false)}) {
    pb::RemoveModelRequest remove;
    remove.set_model(model);
    const auto removed = Ask(inbox, "RemoveModel", remove.SerializeAsString());
    removed->over.WaitForNotification();
    EXPECT_EQ(removed->end.ok(), found) << removed->end;
    EXPECT_EQ(removed->responses.size(), found ? 1u : 0u);
  }
  for (const char* method : {"Generate", "Stop", "TakeModel"}) {
    const auto odd = Ask(inbox, method, "\xFF");
    odd->over.WaitForNotification();
    EXPECT_TRUE(absl::IsInvalidArgument(odd->end)) << method << odd->end;
  }
}

TEST(ModelInboxTest, WithoutAFolderItTakesNone) {
  ModelInbox inbox({}, nullptr);
  EXPECT_FALSE(inbox.receives());
  const auto heard = Ask(inbox, "TakeModel");
  heard->over.WaitForNotification();
  EXPECT_THAT(std::string(heard->end.message()), HasSubstr("lends no disk"));
}

TEST(ModelInboxTest, WhoIsTooManyIsToldSoAndItsEndEndsAll) {
  absl::Notification begun;
  std::vector<std::shared_ptr<Heard>> all;
  {
    ModelInbox inbox(
        {.take = [&](const pb::TakeModelRequest&,
                     const std::atomic<bool>& stop) -> absl::StatusOr<pb::TakeModelResponse> {
           begun.Notify();
           while (!stop) std::this_thread::yield();
           return absl::CancelledError("stopped");
         },
         .remove = nullptr},
        nullptr);
    all.push_back(Ask(inbox, "TakeModel"));
    begun.WaitForNotification();
    for (int i = 0; i < 17; ++i) all.push_back(Ask(inbox, "TakeModel"));
    EXPECT_TRUE(all.back()->over.HasBeenNotified());
    EXPECT_TRUE(absl::IsResourceExhausted(all.back()->end)) << all.back()->end;
  }
  EXPECT_TRUE(absl::IsCancelled(all[0]->end));
  for (size_t i = 1; i < 17; ++i) EXPECT_TRUE(absl::IsUnavailable(all[i]->end)) << all[i]->end;
}

}  // namespace
}  // namespace corpgrid::agent
