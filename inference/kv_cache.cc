#include "inference/kv_cache.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "base/check.h"

namespace corpgrid::inference {
namespace {

// A shorter common beginning is not worth a copy of a slot, or a place of its own.
constexpr uint32_t kWorthCopying = 32;

std::span<const Token> AllButLast(std::span<const Token> tokens) {
  return tokens.first(tokens.empty() ? 0 : tokens.size() - 1);
}

}  // namespace

KvCache::KvCache(Decoder* decoder)
    : decoder_(decoder), shape_(decoder->shape()), slots_(shape_.slots), tree_(shape_.slots) {
  if (!shared()) return;
  references_.resize(shape_.cells);
  for (uint32_t cell = shape_.cells; cell > 0; --cell) free_cells_.push_back(cell - 1);
}

KvCache::Match KvCache::Longest(std::span<const Token> tokens) const {
  Match best;
  const auto most = AllButLast(tokens);
  // A memory that cannot be cut back is of use as a whole, where it is, or not at all.
  if (!shape_.reuses_prefixes) {
    for (const uint32_t slot : tree_.TextsWithin(most)) {
      if (!slots_[slot].in_use) best = {slot, Length(slot)};
    }
    return best;
  }
  const uint32_t length = tree_.Longest(most);
  const auto rank = [&](uint32_t slot) {
    return std::tuple(slots_[slot].in_use, Length(slot), slot);
  };
  for (const uint32_t slot : tree_.TextsWith(most.first(length))) {
    if (best.length == 0 || rank(slot) < rank(best.slot)) best = {slot, length};
  }
  return best;
}

uint32_t KvCache::Reusable(std::span<const Token> tokens) const {
  return shape_.reuses_prefixes ? tree_.Longest(AllButLast(tokens)) : Longest(tokens).length;
}

std::optional<uint32_t> KvCache::Place(const Match& match) const {
  const Slot& matched = slots_[match.slot];
  // Where the whole slot is of use, or nearly: nothing is lost by going on in it.
  if (!matched.in_use && match.length > 0 && Length(match.slot) - match.length < kWorthCopying) {
    return match.slot;
  }
  const auto rank = [&](uint32_t i) {
    return std::pair(RunsWith(i), Length(i) == 0 ? 0 : slots_[i].last_use);
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
  return Taken{*place, Length(*place)};
}

void KvCache::Copy(const Match& from, uint32_t to) {
  decoder_->CopyPrefix(from.slot, to, from.length);
  tree_.Copy(from.slot, to, from.length);
  if (shared()) {
    const std::vector<uint32_t>& source = slots_[from.slot].cells;
    slots_[to].cells.assign(source.begin(), source.begin() + from.length);
    for (const uint32_t cell : slots_[to].cells) ++references_[cell];
  } else {
    used_ += from.length;
  }
}

void KvCache::Append(uint32_t slot_index, std::span<const Token> tokens) {
  Slot& slot = slots_[slot_index];
  CHECK_INVARIANT(slot.in_use && tokens.size() <= RoomInSlot(slot_index));
  tree_.Append(slot_index, tokens);
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
  if (length >= Length(slot_index)) return;
  decoder_->Truncate(slot_index, length);
  if (shared()) {
    for (size_t i = length; i < slot.cells.size(); ++i) {
      if (--references_[slot.cells[i]] > 0) continue;
      free_cells_.push_back(slot.cells[i]);
      --used_;
    }
    slot.cells.resize(length);
  } else {
    used_ -= Length(slot_index) - length;
  }
  tree_.Cut(slot_index, length);
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
  const uint32_t left = most - Length(slot);
  return shared() ? std::min(left, RoomInAll()) : left;
}

uint32_t KvCache::RoomInAll() const { return shape_.cells - used_; }

uint32_t KvCache::RoomWithoutReuse() const {
  uint32_t room = RoomInAll();
  if (!shared()) {
    for (uint32_t i = 0; i < slots_.size(); ++i) {
      if (!slots_[i].in_use) room += Length(i);
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
    if (slots_[i].in_use || Length(i) == 0) continue;
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
