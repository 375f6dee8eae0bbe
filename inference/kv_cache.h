#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "inference/decoder.h"
#include "inference/prefix_tree.h"

namespace corpgrid::inference {

// What a decoder's memory holds: which tokens are in which slot, which slots sequences use, and
// how many cells that takes. What a sequence leaves stays until its place is needed, so that a
// prefix that many requests share is computed once. One thread at a time.
class KvCache {
 public:
  explicit KvCache(Decoder* decoder);

  struct Taken {
    uint32_t slot = 0;
    uint32_t reused = 0;  // the first tokens that it holds already
  };

  // A slot for a sequence that begins with `tokens`, all but the last of which may be reused.
  // Nothing when every slot is in use.
  std::optional<Taken> Take(std::span<const Token> tokens);

  // How many of the first `tokens` some slot holds, all but the last at most.
  uint32_t Reusable(std::span<const Token> tokens) const;

  // The tokens were computed and are in the slot now.
  void Append(uint32_t slot, std::span<const Token> tokens);

  // The sequence needs its slot no longer. Its tokens may be reused.
  void Release(uint32_t slot);

  // What the slot holds is not to be trusted, or not wanted: nothing, from now on.
  void Clear(uint32_t slot);

  // Tokens that can be computed before the memory is full: in this slot, and in all together.
  uint32_t RoomInSlot(uint32_t slot) const;
  uint32_t RoomInAll() const;

  // Cells that would be free if nothing were kept for reuse.
  uint32_t RoomWithoutReuse() const;

  // Forgets the slot that was of use longest ago, of those no sequence uses. False if there is
  // none.
  bool Evict();

  uint32_t used_cells() const { return used_; }
  uint32_t idle_slots() const;

 private:
  struct Slot {
    std::vector<uint32_t> cells;  // with a shared pool: which cell has which token
    bool in_use = false;
    uint64_t last_use = 0;
  };

  struct Match {
    uint32_t slot = 0;
    uint32_t length = 0;
  };
  Match Longest(std::span<const Token> tokens) const;
  // The idle slot that a sequence which reuses `match` should have.
  std::optional<uint32_t> Place(const Match& match) const;
  // How many more runs of neighbouring slots are in use when `slot` is. With streams, libllama
  // reads all weights once for each run: gaps cost more than what is kept in them saves.
  int RunsWith(uint32_t slot) const;
  void Cut(uint32_t slot, uint32_t length);
  void Copy(const Match& from, uint32_t to);
  uint32_t Length(uint32_t slot) const { return tree_.length(slot); }
  bool shared() const { return shape_.layout == KvShape::Layout::kShared; }

  Decoder* const decoder_;
  const KvShape shape_;
  std::vector<Slot> slots_;
  PrefixTree tree_;                   // of the tokens in each slot
  std::vector<uint32_t> references_;  // with a shared pool: how many slots use a cell
  std::vector<uint32_t> free_cells_;
  uint32_t used_ = 0;
  uint64_t uses_ = 0;
};

}  // namespace corpgrid::inference
