#include "rpc/worker_channel.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/client_callback.h>

#include <utility>
#include <vector>

#include "rpc/dispose.h"
#include "rpc/status.h"

namespace corpgrid::rpc {
namespace {

using grpc::ByteBuffer;

// The tokens of the largest body that the API takes.
constexpr int kMaxResponseBytes = 64 << 20;

std::string TextOf(const ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string text;
  if (!buffer.Dump(&slices).ok()) return text;
  for (const grpc::Slice& slice : slices) {
    text.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return text;
}

// Deletes itself when the call is over.
class Reactor final : public grpc::ClientBidiReactor<ByteBuffer, ByteBuffer> {
 public:
  Reactor(const std::string& request, std::shared_ptr<CallListener> listener)
      : listener_(std::move(listener)) {
    const grpc::Slice slice(request);
    request_ = ByteBuffer(&slice, 1);
  }

  void Begin(grpc::TemplatedGenericStub<ByteBuffer, ByteBuffer>* stub, const std::string& method,
             std::shared_ptr<grpc::ClientContext> context) {
    context_ = std::move(context);
    stub->PrepareBidiStreamingCall(context_.get(), method, {}, this);
    StartWriteLast(&request_, {});
    StartRead(&response_);
    StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    listener_->OnResponse(TextOf(response_));
    StartRead(&response_);
  }

  void OnDone(const grpc::Status& status) override {
    listener_->OnEnd(FromGrpc(status));
    DisposeElsewhere(std::move(context_));
    delete this;
  }

 private:
  const std::shared_ptr<CallListener> listener_;
  std::shared_ptr<grpc::ClientContext> context_;
  ByteBuffer request_, response_;
};

class GrpcCall final : public WorkerCall {
 public:
  explicit GrpcCall(std::shared_ptr<grpc::ClientContext> context) : context_(std::move(context)) {}
  ~GrpcCall() override { context_->TryCancel(); }

 private:
  const std::shared_ptr<grpc::ClientContext> context_;
};

class GrpcChannel final : public WorkerChannel {
 public:
  explicit GrpcChannel(const std::shared_ptr<grpc::Channel>& channel) : stub_(channel) {}

  std::unique_ptr<WorkerCall> Start(std::string_view method, const std::string& request,
                                    std::shared_ptr<CallListener> listener) override {
    auto context = std::make_shared<grpc::ClientContext>();
    auto call = std::make_unique<GrpcCall>(context);
    auto* reactor = new Reactor(request, std::move(listener));
    reactor->Begin(&stub_, "/corpgrid.v1.Worker/" + std::string(method), std::move(context));
    return call;
  }

 private:
  grpc::TemplatedGenericStub<ByteBuffer, ByteBuffer> stub_;
};

}  // namespace

bool IsAnswer(std::string_view method) {
  return method == "Generate" || method == "RenderChat" || method == "Tokenize" ||
         method == "Embed" || method == "Describe";
}

bool IsForAgent(std::string_view method) {
  return method == "TakeModel" || method == "RemoveModel";
}

std::shared_ptr<WorkerChannel> ConnectWorker(const std::string& address) {
  return std::make_shared<GrpcChannel>(ChannelToWorker(address));
}

std::shared_ptr<grpc::Channel> ChannelToWorker(const std::string& address) {
  grpc::ChannelArguments arguments;
  // The next worker at this address is another one: it does not wait for this one's back-off.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetMaxReceiveMessageSize(kMaxResponseBytes);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace corpgrid::rpc
