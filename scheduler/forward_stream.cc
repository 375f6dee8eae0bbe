#include "scheduler/forward_stream.h"

#include "corpgrid/v1/worker.pb.h"

namespace corpgrid::scheduler {
namespace pb = corpgrid::v1;

void InferStream::BeginInference() {
  renders_ = !request_.messages().empty();
  if (!renders_) return Begin("Generate", request_.generate().SerializeAsString());
  pb::RenderChatRequest render;
  render.set_messages(request_.messages());
  Begin("RenderChat", render.SerializeAsString());
}

void InferStream::OnResponse(std::string response) {
  if (!renders_) return ForwardStream::OnResponse(std::move(response));
  pb::RenderChatResponse rendered;
  if (!rendered.ParseFromString(response)) {
    return End(absl::InternalError("the device's answer is none"));
  }
  request_.mutable_generate()->set_text(rendered.text());
  request_.mutable_generate()->set_special(true);
}

void InferStream::OnEnd(absl::Status status) {
  if (!std::exchange(renders_, false) || !status.ok()) return ForwardStream::OnEnd(status);
  Start("Generate", request_.generate().SerializeAsString());
}

}  // namespace corpgrid::scheduler
