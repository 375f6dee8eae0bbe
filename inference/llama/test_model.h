#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace corpgrid::inference {

// A llama-shaped model of random weights, whose tokens are bytes and made-up words: real to the
// library in all but what it says.
struct TestModel {
  uint32_t layers = 2;
  uint32_t embedding = 64;
  uint32_t heads = 4;
  uint32_t kv_heads = 2;
  uint32_t feed_forward = 128;
  uint32_t vocabulary = 320;  // at least 300
  uint32_t context = 4096;
  std::string type = "F32";  // or "F16", "Q8_0", "Q4_0"
  uint64_t seed = 1;
  std::string chat_template = {};         // empty: a simple one
  std::vector<std::string> control = {};  // names of further control tokens
};

// Writes the model to `path`. Errors: InvalidArgument for an unknown type, Internal and Unavailable
// when it cannot be made or written.
absl::Status MakeTestModel(const TestModel& shape, const std::string& path);

}  // namespace corpgrid::inference
