#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>

namespace corpgrid::inference {

// Who is next, fair between clients: the one that got the fewest tokens of those that want some
// (virtual token counters: Sheng et al., Fairness in Serving Large Language Models, OSDI 2024). A
// client that comes, or comes back, starts level with the others. Within a client the order is
// that of arrival. One thread at a time.
class FairQueue {
 public:
  // Items of one client that are looked at for one that can start.
  static constexpr size_t kLookAhead = 16;

  // `item` waits; ids are the caller's.
  void Push(const std::string& client, uint64_t item);

  // Takes the next item that `can_start`; nothing when there is none.
  std::optional<uint64_t> Take(const std::function<bool(uint64_t item)>& can_start);

  // Takes the item out, where it waits. Returns whether it did.
  bool Remove(const std::string& client, uint64_t item);

  // The client of an item that was taken got so many tokens.
  void Charge(const std::string& client, uint64_t tokens);

  // An item of the client that was taken has ended.
  void Ended(const std::string& client);

  size_t size() const { return size_; }
  // Those of one client.
  size_t Waiting(const std::string& client) const;

 private:
  struct Client {
    std::deque<uint64_t> waiting;
    uint64_t served = 0;
    uint32_t running = 0;
  };

  void ForgetIfGone(const std::string& client);

  std::map<std::string, Client> clients_;
  size_t size_ = 0;
};

}  // namespace corpgrid::inference
