#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "inference/decoder.h"
#include "inference/fair_queue.h"
#include "inference/kv_cache.h"
#include "inference/request.h"
#include "inference/step_plan.h"
#include "inference/text_stream.h"
#include "inference/thread_tuner.h"
#include "inference/token_filter.h"

namespace corpgrid::inference {

struct EngineStats {
  uint32_t running = 0;
  uint32_t waiting = 0;
  uint32_t used_cells = 0;  // by what runs; what is kept for reuse gives way
  uint32_t all_cells = 0;
  uint64_t steps = 0;
  uint64_t computed_tokens = 0;
  uint64_t reused_tokens = 0;  // of prompts, not computed
  uint64_t answer_tokens = 0;
  uint64_t preemptions = 0;
};

// Continues the texts of many requests at once, one step at a time over all of them. A step
// computes the next token of every answer and, with what is left of its budget, prompts. One thread
// at a time; EngineThread makes it one for many.
class Engine {
 public:
  static constexpr size_t kMaxWaiting = 4096;                   // answers
  static constexpr size_t kMaxWaitingOfClient = 1024;           // so that others find a place
  static constexpr size_t kMaxHeldBytes = size_t{256} << 20;    // of prompts and grammars
  static constexpr size_t kMaxFilterBytes = size_t{256} << 20;  // of grammars of what runs

  // All must outlive the engine. `threads`: that may compute.
  Engine(Decoder* decoder, const Vocabulary* vocabulary, const Clock* clock, StepBudget budget,
         uint32_t threads);
  ~Engine();

  // A request that can be computed.
  struct Checked {
    std::shared_ptr<const Request> request;
    size_t filter_bytes = 0;  // that its grammar takes for each choice that runs
  };

  // Any thread. Errors: InvalidArgument that names what is wrong with the request,
  // ResourceExhausted when requests hold too much memory already.
  absl::StatusOr<Checked> Check(Request request) const;

  // `id` is the caller's. Errors: ResourceExhausted when too many wait, of all or of its client.
  absl::Status Submit(uint64_t id, const Checked& checked,
                      const std::shared_ptr<Listener>& listener);

  // Ends what is left of a request now. Its listener hears kCancelled.
  void Cancel(uint64_t id);

  // Ends all requests; their listeners hear `status`.
  void FailAll(const absl::Status& status);

  // Computes one step. False when there is nothing to do.
  bool Step();

  // Any thread: for how long it has been at a step without the decoder, which takes what it takes;
  // 0 between steps.
  int64_t ThinkingMs() const;

  const EngineStats& stats();

 private:
  struct Sequence;

  void Admit();
  bool HasPlace() const;
  bool CanStart(const Sequence& sequence) const;
  bool Start(std::unique_ptr<Sequence> sequence);
  std::vector<uint32_t> Plan();
  // Makes room for what the plan computes; sequences that had to give way are out of it then.
  void MakeRoom(std::vector<uint32_t>* shares);
  void PreemptYoungest();
  absl::Status Compute(const std::vector<uint32_t>& shares);
  // A step failed, and with it what the slots that it was about hold.
  void Recover(const std::vector<uint32_t>& shares, const absl::Status& status);
  void Advance(Sequence* sequence, uint32_t count, size_t last_row);
  void AddToken(Sequence* sequence, std::span<const float> logits);
  void Finished(Sequence* sequence, Finish finish, absl::Status status);
  void RemoveFinished();

  Decoder* const decoder_;
  const Vocabulary* const vocabulary_;
  const Clock* const clock_;
  const StepBudget budget_;
  const KvShape shape_;
  KvCache cache_;
  uint32_t most_running_;
  ThreadTuner threads_;
  FairQueue queue_;
  std::unordered_map<uint64_t, std::unique_ptr<Sequence>> waiting_;  // by age
  std::vector<std::unique_ptr<Sequence>> preempted_;                 // the oldest first
  std::vector<std::unique_ptr<Sequence>> running_;                   // the oldest first
  double us_per_prompt_token_ = 0;  // of the last step with a prompt; 0: there was none
  uint64_t ages_ = 0;
  size_t filter_bytes_ = 0;  // of what started
  std::atomic<int64_t> thinks_since_us_ = 0;
  EngineStats stats_;
  // By requests that are not over; they may end after the engine.
  const std::shared_ptr<std::atomic<size_t>> held_bytes_ = std::make_shared<std::atomic<size_t>>(0);
};

}  // namespace corpgrid::inference
