#include "inference/fair_queue.h"

#include <algorithm>
#include <vector>

#include "base/check.h"

namespace corpgrid::inference {

void FairQueue::Push(const std::string& client, uint64_t item) {
  const auto [it, is_new] = clients_.try_emplace(client);
  if (is_new) {
    std::optional<uint64_t> least;
    for (const auto& [name, other] : clients_) {
      if (&other != &it->second) least = std::min(least.value_or(other.served), other.served);
    }
    it->second.served = least.value_or(0);
  }
  it->second.waiting.push_back(item);
  ++size_;
}

std::optional<uint64_t> FairQueue::Take(const std::function<bool(uint64_t)>& can_start) {
  std::vector<Client*> order;
  for (auto& [name, client] : clients_) {
    if (!client.waiting.empty()) order.push_back(&client);
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const Client* a, const Client* b) { return a->served < b->served; });
  for (Client* client : order) {
    const size_t count = std::min(client->waiting.size(), kLookAhead);
    for (size_t i = 0; i < count; ++i) {
      const uint64_t item = client->waiting[i];
      if (!can_start(item)) continue;
      client->waiting.erase(client->waiting.begin() + static_cast<ptrdiff_t>(i));
      ++client->running;
      --size_;
      return item;
    }
  }
  return std::nullopt;
}

bool FairQueue::Remove(const std::string& client, uint64_t item) {
  const auto it = clients_.find(client);
  if (it == clients_.end()) return false;
  if (std::erase(it->second.waiting, item) == 0) return false;
  --size_;
  ForgetIfGone(client);
  return true;
}

void FairQueue::Charge(const std::string& client, uint64_t tokens) {
  const auto it = clients_.find(client);
  CHECK_INVARIANT(it != clients_.end());
  it->second.served += tokens;
}

void FairQueue::Ended(const std::string& client) {
  const auto it = clients_.find(client);
  CHECK_INVARIANT(it != clients_.end() && it->second.running > 0);
  --it->second.running;
  ForgetIfGone(client);
}

size_t FairQueue::Waiting(const std::string& client) const {
  const auto it = clients_.find(client);
  return it == clients_.end() ? 0 : it->second.waiting.size();
}

void FairQueue::ForgetIfGone(const std::string& client) {
  const auto it = clients_.find(client);
  if (it->second.waiting.empty() && it->second.running == 0) clients_.erase(it);
}

}  // namespace corpgrid::inference
