// A scheduler and callers of other versions.

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/protocol.h"
#include "scheduler/test_scheduler.h"

namespace corpgrid::scheduler {
namespace {

using ::testing::HasSubstr;

class VersionsTest : public SchedulerTest {
 protected:
  // Registers a new device whose agent tells this of its protocol; empty: nothing.
  grpc::Status Register(const std::string& protocol, grpc::ClientContext* context) {
    TestAgent agent(channel_);
    pb::RegisterAgentRequest request = agent.Registration(JoinToken("ann " + protocol));
    if (!protocol.empty()) context->AddMetadata(rpc::kProtocolKey, protocol);
    pb::RegisterAgentResponse response;
    return pb::Scheduler::NewStub(channel_)->RegisterAgent(context, request, &response);
  }

  grpc::Status List(const std::string& protocol) {
    grpc::ClientContext context;
    if (!protocol.empty()) context.AddMetadata(rpc::kProtocolKey, protocol);
    context.AddMetadata(rpc::kTokenKey, grid_.token);
    pb::ListJobsResponse jobs;
    return jobs_->List(&context, {}, &jobs);
  }

  static std::string Range(uint32_t oldest, uint32_t newest) {
    return rpc::ProtocolRange{oldest, newest}.ToText();
  }
};

TEST_F(VersionsTest, AgentsOneVersionApartAreAdmittedAndKnown) {
  std::vector<uint32_t> protocols;
  for (const std::string& protocol :
       {std::string(), Range(kOldestProtocol, kOldestProtocol), Range(kProtocol, kProtocol + 1)}) {
    grpc::ClientContext context;
    const grpc::Status status = Register(protocol, &context);
    ASSERT_TRUE(status.ok()) << protocol << ": " << status.error_message();
    EXPECT_EQ(rpc::SchedulersProtocol(context), rpc::OurProtocol());
  }
  pb::ListDevicesResponse devices;
  ASSERT_TRUE(Call(&pb::Jobs::Stub::ListDevices, pb::ListDevicesRequest(), &devices).ok());
  for (const pb::Device& device : devices.devices()) protocols.push_back(device.protocol());
  EXPECT_THAT(protocols, ::testing::ElementsAre(1, kOldestProtocol, kProtocol + 1));
}

TEST_F(VersionsTest, AnAgentTwoVersionsApartIsToldWhatToUpgrade) {
  grpc::ClientContext context;
  const grpc::Status status = Register(Range(kProtocol + 1, kProtocol + 2), &context);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("upgrade the scheduler first"));
  pb::ListDevicesResponse devices;
  ASSERT_TRUE(Call(&pb::Jobs::Stub::ListDevices, pb::ListDevicesRequest(), &devices).ok());
  EXPECT_EQ(devices.devices_size(), 0);
}

TEST_F(VersionsTest, ACommandLineTwoVersionsApartIsToldWhatToUpgrade) {
  EXPECT_TRUE(List("").ok());
  EXPECT_TRUE(List(Range(kProtocol, kProtocol + 1)).ok());
  const grpc::Status status = List(Range(kProtocol + 1, kProtocol + 2));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("the command line speaks protocol versions"));
}

// Whoever has no token learns nothing.
TEST_F(VersionsTest, AStrangerIsNotToldTheVersion) {
  grid_.token = "guess";
  EXPECT_EQ(List(Range(kProtocol + 1, kProtocol + 2)).error_code(),
            grpc::StatusCode::UNAUTHENTICATED);
}

}  // namespace
}  // namespace corpgrid::scheduler
