// Calls a worker: worker_client SOCKET METHOD JSON; or a grid's ModelHosting: worker_client
// HOST:PORT METHOD JSON TOKEN. Prints a line of JSON a response; what failed goes to stderr as
// "CODE MESSAGE", with exit status 1.

#include <google/protobuf/util/json_util.h>
#include <grpcpp/grpcpp.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "corpgrid/v1/hosting.grpc.pb.h"
#include "corpgrid/v1/worker.grpc.pb.h"
#include "rpc/connect.h"

namespace {

namespace pb = corpgrid::v1;

template <typename Message>
Message Parse(const char* json) {
  Message message;
  const auto status = google::protobuf::util::JsonStringToMessage(json, &message);
  if (status.ok()) return message;
  std::fprintf(stderr, "no %s: %s\n", Message::descriptor()->name().c_str(), json);
  std::exit(2);
}

void Print(const google::protobuf::Message& message) {
  std::string json;
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  (void)google::protobuf::util::MessageToJsonString(message, &json, options);
  std::printf("%s\n", json.c_str());
  std::fflush(stdout);
}

template <typename Request, typename Response, typename Method>
grpc::Status Unary(pb::Worker::Stub* stub, Method method, const char* json) {
  grpc::ClientContext context;
  Response response;
  const grpc::Status status = (stub->*method)(&context, Parse<Request>(json), &response);
  if (status.ok()) Print(response);
  return status;
}

grpc::Status Generate(pb::Worker::Stub* stub, const char* json) {
  grpc::ClientContext context;
  const auto stream = stub->Generate(&context, Parse<pb::GenerateRequest>(json));
  pb::GenerateResponse response;
  while (stream->Read(&response)) Print(response);
  return stream->Finish();
}

grpc::Status Call(pb::Worker::Stub* stub, const std::string& method, const char* json) {
  if (method == "Load") {
    return Unary<pb::LoadRequest, pb::LoadResponse>(stub, &pb::Worker::Stub::Load, json);
  }
  if (method == "RenderChat") {
    return Unary<pb::RenderChatRequest, pb::RenderChatResponse>(stub, &pb::Worker::Stub::RenderChat,
                                                                json);
  }
  if (method == "Tokenize") {
    return Unary<pb::TokenizeRequest, pb::TokenizeResponse>(stub, &pb::Worker::Stub::Tokenize,
                                                            json);
  }
  if (method == "Embed") {
    return Unary<pb::EmbedRequest, pb::EmbedResponse>(stub, &pb::Worker::Stub::Embed, json);
  }
  if (method == "GetStats") {
    return Unary<pb::GetStatsRequest, pb::GetStatsResponse>(stub, &pb::Worker::Stub::GetStats,
                                                            json);
  }
  return Generate(stub, json);
}

grpc::Status CallGrid(pb::ModelHosting::Stub* stub, const std::string& method, const char* json,
                      const std::string& token) {
  grpc::ClientContext context;
  context.AddMetadata(corpgrid::rpc::kTokenKey, token);
  if (method == "ClusterResources") {
    pb::ClusterResourcesResponse response;
    const grpc::Status status =
        stub->ClusterResources(&context, Parse<pb::ClusterResourcesRequest>(json), &response);
    if (status.ok()) Print(response);
    return status;
  }
  const auto stream = stub->Infer(&context, Parse<pb::InferRequest>(json));
  pb::GenerateResponse response;
  while (stream->Read(&response)) Print(response);
  return stream->Finish();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4 && argc != 5) return 2;
  const std::string address = argc == 5 ? argv[1] : std::string("unix:") + argv[1];
  const auto channel = grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
  const grpc::Status status =
      argc == 5 ? CallGrid(pb::ModelHosting::NewStub(channel).get(), argv[2], argv[3], argv[4])
                : Call(pb::Worker::NewStub(channel).get(), argv[2], argv[3]);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%d %s\n", status.error_code(), status.error_message().c_str());
  return 1;
}
