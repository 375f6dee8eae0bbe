#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "inference/sampling.h"
#include "inference/token.h"

namespace corpgrid::inference {

// Text to be continued.
struct Request {
  static constexpr uint32_t kMaxChoices = 64;
  static constexpr size_t kMaxStops = 16;
  static constexpr size_t kMaxStopBytes = 1024;

  std::string client;  // between which the engine is fair
  std::vector<Token> prompt;
  Sampling sampling;
  uint32_t choices = 1;     // answers to this prompt
  uint32_t max_tokens = 0;  // of each answer; 0: as many as the context has room for
  std::vector<std::string> stop;
  std::string grammar;        // of which the answer has to be; empty: none
  bool show_control = false;  // control tokens are a part of the text, by their names
  bool ignore_end = false;    // goes on where the model would end; for measurements
};

enum class Finish : uint8_t {
  kStop,       // the model ended, or a stop string came
  kLength,     // max_tokens, or the context is full
  kCancelled,  // nobody waits for it any more
  kFailed,     // see the status
};

struct Usage {
  uint32_t prompt_tokens = 0;
  uint32_t reused_tokens = 0;  // of the prompt, that were not computed for this answer
  uint32_t answer_tokens = 0;
};

// What a step adds to an answer.
struct Delta {
  uint32_t choice = 0;
  SampledToken token;
  std::string text;  // may be empty: a part of a character, or maybe of a stop string
};

struct End {
  uint32_t choice = 0;
  Finish finish = Finish::kStop;
  absl::Status status;  // why it failed
  std::string text;     // what was kept back until now
  Usage usage;
};

// Hears of a request's answers, on the engine's thread: it must not wait.
class Listener {
 public:
  virtual ~Listener() = default;
  virtual void OnDelta(const Delta& delta) = 0;
  virtual void OnEnd(const End& end) = 0;  // once a choice
};

}  // namespace corpgrid::inference
