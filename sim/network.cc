#include "sim/network.h"

#include <utility>

namespace corpgrid::sim {

void Network::Send(Message message) {
  const auto* request = std::get_if<Request>(&message);
  const uint32_t node = request ? request->node : std::get<Answer>(message).node;
  if (node < cut_.size()) {
    const int64_t until_ms = request ? cut_[node].to_ms : cut_[node].from_ms;
    if (events_->now_ms() < until_ms) return;
  }
  if (faults_->Strike(Fault::kMessageDropped)) return;
  if (faults_->Strike(Fault::kMessageDuplicated)) Deliver(message);
  Deliver(std::move(message));
}

void Network::Deliver(Message message) {
  int64_t delay_ms = random_.Between(0, 20);
  if (faults_->Strike(Fault::kMessageReordered)) delay_ms += random_.Between(50, 2'000);
  if (faults_->Strike(Fault::kMessageDelayed)) delay_ms += random_.Between(2'000, 180'000);
  const uint32_t kind = message.index() == 0 ? 0 : 1;
  uint64_t index = messages_.size();
  if (free_.empty()) {
    messages_.push_back(std::move(message));
  } else {
    index = free_.back();
    free_.pop_back();
    messages_[index] = std::move(message);
  }
  events_->Add(events_->now_ms() + delay_ms, EventKind::kArrival, kind, index);
}

Message Network::Take(uint64_t index) {
  free_.push_back(index);
  return std::move(messages_[index]);
}

}  // namespace corpgrid::sim
