#include "inference/kv_cache.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace corpgrid::inference {
namespace {

// A shorter common beginning is not worth a copy of a slot, or a place of its own.
constexpr uint32_t kWorthCopying = 32;

}  // namespace

KvCache::KvCache(Decoder* decoder)
    : decoder_(decoder), shape_(decoder->shape()), slots_(shape_.slots) {
  if (!shared()) return;
  references_.resize(shape_.cells);
  for (uint32_t cell = shape_.cells; cell > 0; --cell) free_cells_.push_back(cell - 1);
}

KvCache::Match KvCache::Longest(std::span<const Token> tokens) const {
  Match best;
  const size_t most = tokens.empty() ? 0 : tokens.size() - 1;
  for (uint32_t i = 0; i < slots_.size(); ++i) {
    const std::vector<Token>& held = slots_[i].tokens;
    const size_t common = std::min(held.size(), most);
    const auto end =
        std::mismatch(held.begin(), held.begin() + static_cast<ptrdiff_t>(common), tokens.begin());
    uint32_t length = static_cast<uint32_t>(end.first - held.begin());
    // A memory that cannot be cut back is of use as a whole, where it is, or not at all.
    if (!shape_.reuses_prefixes && (slots_[i].in_use || length < held.size())) length = 0;
    const bool better_place =
        length == best.length && slots_[best.slot].in_use && !slots_[i].in_use;
    if (length > best.length || better_place) best = {i, length};
  }
  return best;
}

uint32_t KvCache::Reusable(std::span<const Token> tokens) const { return Longest(tokens).length; }

std::optional<uint32_t> KvCache::Place(const Match& match) const {
  const Slot& matched = slots_[match.slot];
  // Where the whole slot is of use, or nearly: nothing is lost by going on in it.
  if (!matched.in_use && match.length > 0 && matched.tokens.size() - match.length < kWorthCopying) {
    return match.slot;
  }
  const auto rank = [&](uint32_t i) {
    return std::pair(RunsWith(i), slots_[i].tokens.empty() ? 0 : slots_[i].last_use);
  };
  std::optional<uint32_t> best;
  for (uint32_t i = 0; i < slots_.size(); ++i) {
    if (!slots_[i].in_use && (!best || rank(i) < rank(*best))) best = i;
  }
  return best;
}

int KvCache::RunsWith(uint32_t slot) const {
  if (shared()) return 0;
  const bool before = slot > 0 && slots_[slot - 1].in_use;
  const bool after = slot + 1 < slots_.size() && slots_[slot + 1].in_use;
  return 1 - int{before} - int{after};
}

std::optional<KvCache::Taken> KvCache::Take(std::span<const Token> tokens) {
  Match match = Longest(tokens);
  const std::optional<uint32_t> place = Place(match);
  if (!place) return std::nullopt;
  if (*place == match.slot) {
    Cut(*place, match.length);
  } else {
    Cut(*place, 0);
    if (match.length < kWorthCopying) match.length = 0;
    if (match.length > 0) Copy(match, *place);
  }
  Slot& slot = slots_[*place];
  slot.in_use = true;
  slot.last_use = ++uses_;
  if (match.length > 0) slots_[match.slot].last_use = uses_;
  return Taken{*place, static_cast<uint32_t>(slot.tokens.size())};
}

void KvCache::Copy(const Match& from, uint32_t to) {
  decoder_->CopyPrefix(from.slot, to, from.length);
  const Slot& source = slots_[from.slot];
  Slot& target = slots_[to];
  target.tokens.assign(source.tokens.begin(), source.tokens.begin() + from.length);
  if (shared()) {
    target.cells.assign(source.cells.begin(), source.cells.begin() + from.length);
    for (const uint32_t cell : target.cells) ++references_[cell];
  } else {
    used_ += from.length;
  }
}

void KvCache::Append(uint32_t slot_index, std::span<const Token> tokens) {
  Slot& slot = slots_[slot_index];
  CHECK_INVARIANT(slot.in_use && tokens.size() <= RoomInSlot(slot_index));
  slot.tokens.insert(slot.tokens.end(), tokens.begin(), tokens.end());
  used_ += static_cast<uint32_t>(tokens.size());
  if (!shared()) return;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const uint32_t cell = free_cells_.back();
    free_cells_.pop_back();
    references_[cell] = 1;
    slot.cells.push_back(cell);
  }
}

void KvCache::Cut(uint32_t slot_index, uint32_t length) {
  Slot& slot = slots_[slot_index];
  if (length >= slot.tokens.size()) return;
  decoder_->Truncate(slot_index, length);
  if (shared()) {
    for (size_t i = length; i < slot.cells.size(); ++i) {
      if (--references_[slot.cells[i]] > 0) continue;
      free_cells_.push_back(slot.cells[i]);
      --used_;
    }
    slot.cells.resize(length);
  } else {
    used_ -= static_cast<uint32_t>(slot.tokens.size()) - length;
  }
  slot.tokens.resize(length);
}

void KvCache::Release(uint32_t slot) {
  CHECK_INVARIANT(slots_[slot].in_use);
  slots_[slot].in_use = false;
  slots_[slot].last_use = ++uses_;
}

void KvCache::Clear(uint32_t slot) {
  // The decoder may hold tokens of a failed step that are not among ours.
  decoder_->Truncate(slot, 0);
  Cut(slot, 0);
}

uint32_t KvCache::RoomInSlot(uint32_t slot) const {
  const uint32_t most = std::min(shape_.cells_per_slot(), shape_.max_sequence);
  const uint32_t left = most - static_cast<uint32_t>(slots_[slot].tokens.size());
  return shared() ? std::min(left, RoomInAll()) : left;
}

uint32_t KvCache::RoomInAll() const { return shape_.cells - used_; }

uint32_t KvCache::RoomWithoutReuse() const {
  uint32_t room = RoomInAll();
  if (!shared()) {
    for (const Slot& slot : slots_) {
      if (!slot.in_use) room += static_cast<uint32_t>(slot.tokens.size());
    }
    return room;
  }
  std::vector<uint32_t> references = references_;
  for (const Slot& slot : slots_) {
    if (slot.in_use) continue;
    for (const uint32_t cell : slot.cells) room += --references[cell] == 0 ? 1 : 0;
  }
  return room;
}

bool KvCache::Evict() {
  std::optional<uint32_t> oldest;
  for (uint32_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].in_use || slots_[i].tokens.empty()) continue;
    if (!oldest || slots_[i].last_use < slots_[*oldest].last_use) oldest = i;
  }
  if (!oldest) return false;
  Cut(*oldest, 0);
  return true;
}

uint32_t KvCache::idle_slots() const {
  return static_cast<uint32_t>(
      std::count_if(slots_.begin(), slots_.end(), [](const Slot& slot) { return !slot.in_use; }));
}

}  // namespace corpgrid::inference
