#pragma once

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "inference/token.h"

namespace corpgrid::inference {

// The memory of keys and values that a decoder has.
struct KvShape {
  // Each sequence has cells of its own (streams), or all share one pool.
  enum class Layout : uint8_t { kStreams, kShared };

  Layout layout = Layout::kStreams;
  uint32_t slots = 1;           // sequences that it can hold at once
  uint32_t cells = 0;           // tokens that it can hold, all slots together
  uint32_t max_sequence = 0;    // tokens that one sequence may have
  bool reuses_prefixes = true;  // a slot can be cut back; false for recurrent memories

  uint32_t cells_per_slot() const { return layout == Layout::kStreams ? cells / slots : cells; }
};

// One token to compute.
struct Row {
  Token token = 0;
  uint32_t position = 0;
  uint32_t slot = 0;
  bool wants_logits = false;
};

// What computes tokens: a model with its memory, or a test's. One thread at a time.
class Decoder {
 public:
  virtual ~Decoder() = default;

  virtual const KvShape& shape() const = 0;
  virtual uint32_t vocabulary_size() const = 0;

  // Computes `rows`, those of a slot in the order of their positions, slots in ascending order.
  // Each row's slot holds what comes before it. Errors leave the memory of these slots unknown:
  // ResourceExhausted where the memory had no room, Internal otherwise.
  virtual absl::Status Decode(std::span<const Row> rows) = 0;

  // The logits of row `row` of the last Decode(), which asked for them; valid until the next one.
  virtual std::span<const float> Logits(size_t row) = 0;

  // Slot `to`, which must be empty, then holds the first `length` tokens of `from`.
  virtual void CopyPrefix(uint32_t from, uint32_t to, uint32_t length) = 0;

  // Slot `slot` then holds its first `length` tokens only; 0 where the memory cannot be cut.
  virtual void Truncate(uint32_t slot, uint32_t length) = 0;

  // How many threads compute from the next Decode() on.
  virtual void SetThreads(uint32_t threads) = 0;
};

}  // namespace corpgrid::inference
