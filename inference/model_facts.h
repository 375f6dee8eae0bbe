#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

namespace corpgrid::inference {

// What a model's file says of it.
struct ModelFacts {
  std::string name;
  std::string architecture;
  std::string quantisation;  // "Q8_0", "Q4_K - Medium"
  uint64_t parameters = 0;
  uint64_t weight_bytes = 0;
  uint32_t trained_context = 0;  // tokens
  uint32_t layers = 0;
  uint32_t embedding = 0;
  uint32_t heads = 0;
  uint32_t kv_heads = 0;
  uint32_t vocabulary = 0;
  std::string chat_template;     // empty: none
  bool reuses_prefixes = false;  // its memory is of keys and values alone, and can be cut
  bool only_embeds = false;      // it turns texts into vectors and generates none

  // Of a sequence where nobody asks for another: what it was not trained for is no use.
  uint32_t usual_context() const {
    return trained_context == 0 ? 4096 : std::min(trained_context, 4096u);
  }
};

// Whether the library that this machine has can host a model.
struct Compatibility {
  bool loads = false;      // its architecture is known, its tensors are all there
  bool generates = false;  // text, token by token
  bool embeds = false;     // it is one that turns texts into vectors, and no more
  bool tried = false;      // a token was computed to find out
  std::string problem;     // why it cannot be hosted; or why it was not tried
  std::string library;     // its version and devices

  bool usable() const { return loads && (generates || embeds); }
};

struct Inspection {
  ModelFacts facts;
  Compatibility compatibility;
};

// The memory that a worker needs for a model.
struct MemoryEstimate {
  uint64_t weight_bytes = 0;
  uint64_t kv_bytes = 0;       // keys and values, or what the architecture keeps instead
  uint64_t compute_bytes = 0;  // what a step works in, and its logits
  uint64_t process_bytes = 0;  // the worker without a model
  uint64_t gpu_bytes = 0;      // of all these, that are a GPU's

  uint64_t total_bytes() const { return weight_bytes + kv_bytes + compute_bytes + process_bytes; }
  uint64_t machine_bytes() const { return total_bytes() - gpu_bytes; }
};

}  // namespace corpgrid::inference
