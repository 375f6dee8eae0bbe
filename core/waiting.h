#pragma once

#include <bit>
#include <cstdint>
#include <iterator>
#include <map>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "core/placement.h"

namespace corpgrid::core {

// The devices that wait for work, by class of what they have, the best standing first, so that the
// few worth scoring for a shard are found without looking at all that wait.
class WaitingDevices {
 public:
  // `device` waits, with this standing score; again: with this one instead.
  void Insert(DeviceId id, const DeviceRow& device, double standing) {
    Erase(id);
    const Entry entry = {Class::Of(device), {-standing, id}};
    entries_[id] = entry;
    classes_[entry.first].insert(entry.second);
  }

  void Erase(DeviceId id) {
    const auto found = entries_.find(id);
    if (found == entries_.end()) return;
    const auto members = classes_.find(found->second.first);
    members->second.erase(found->second.second);
    if (members->second.empty()) classes_.erase(members);
    entries_.erase(found);
  }

  // At most `limit` devices for which `suits(id)` holds, those with the largest standing plus
  // `fit(id)` first, among the first `scan` of them. `fit` is taken to be about the same for all
  // devices of a class.
  template <typename Suits, typename FitOf>
  std::vector<DeviceId> Best(const Requirements& want, size_t limit, size_t scan, Suits suits,
                             FitOf fit) const {
    std::vector<Head> heads;
    for (const auto& [kind, members] : classes_) {
      if (!kind.MayFit(want)) continue;
      heads.push_back({members.begin(), members.end(), 0});
      heads.back().rank = -heads.back().next->first + fit(heads.back().next->second);
    }
    std::vector<DeviceId> best;
    while (!heads.empty() && best.size() < limit && scan-- > 0) {
      auto head = heads.begin();
      for (auto it = std::next(head); it != heads.end(); ++it) {
        if (it->rank > head->rank) head = it;
      }
      const DeviceId id = head->next->second;
      if (suits(id)) best.push_back(id);
      if (++head->next == head->end) {
        heads.erase(head);
      } else {
        head->rank = -head->next->first + fit(head->next->second);
      }
    }
    return best;
  }

  size_t size() const { return entries_.size(); }
  bool empty() const { return entries_.empty(); }

 private:
  // Quarters of a power of two: what is in one bucket differs by less than a quarter.
  static uint32_t Bucket(uint64_t amount) {
    const auto bits = static_cast<uint32_t>(std::bit_width(amount));
    return bits < 3 ? static_cast<uint32_t>(amount)
                    : 4 * bits + static_cast<uint32_t>(amount >> (bits - 3) & 3);
  }

  struct Class {
    uint32_t backends = 0, cpus = 0, memory = 0, vram = 0;
    bool network = false;
    uint32_t protocol = 1;

    static Class Of(const DeviceRow& row) {
      return {row.backends,           Bucket(row.cpus),    Bucket(row.memory_bytes),
              Bucket(row.vram_bytes), row.network_allowed, row.protocol};
    }
    // False only when no device of the class fits.
    bool MayFit(const Requirements& want) const {
      return (want.backends & backends) != 0 && Bucket(want.cpus) <= cpus &&
             Bucket(want.memory_bytes) <= memory && Bucket(want.vram_bytes) <= vram &&
             (!want.network || network) && want.protocol <= protocol;
    }
    auto operator<=>(const Class&) const = default;
  };

  using Member = std::pair<double, DeviceId>;  // the negative standing, so that the best is first
  using Entry = std::pair<Class, Member>;
  struct Head {
    std::set<Member>::const_iterator next, end;
    double rank;
  };

  std::map<Class, std::set<Member>> classes_;
  std::unordered_map<DeviceId, Entry> entries_;  // never iterated
};

}  // namespace corpgrid::core
