#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

#include "crypto/hash.h"

namespace corpgrid::sim {

// A hash of everything that happened, in order: two runs are the same when their digests are.
class Digest {
 public:
  void Add(uint64_t value) {
    if (size_ + sizeof value > sizeof buffer_) Flush();
    // Every machine that we build for is little-endian.
    std::memcpy(buffer_ + size_, &value, sizeof value);
    size_ += sizeof value;
  }
  void Add(std::string_view bytes) {
    Add(bytes.size());
    Flush();
    hasher_.Update(bytes);
  }
  crypto::Hash Finish() {
    Flush();
    return hasher_.Finish();
  }

 private:
  void Flush() {
    hasher_.Update({buffer_, size_});
    size_ = 0;
  }

  crypto::Hasher hasher_;
  char buffer_[4096];
  size_t size_ = 0;
};

}  // namespace corpgrid::sim
