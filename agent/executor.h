#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "agent/slot.h"

namespace corpgrid::agent {

// The slots of an agent, a thread each. Any thread.
class Executor {
 public:
  // Starts `slots` threads that take from the context's lease queue.
  Executor(SlotContext context, uint32_t slots);
  // Stop()s if nobody has.
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // Ends the attempt, if it runs here, without a result; returns whether it does. The call may come
  // too early for a shard that is just being started: call again until the attempt is gone.
  bool Cancel(AttemptId id);

  // Hands the attempt back, if it runs here, with its state if the job saves any; the same holds.
  bool GiveBack(AttemptId id, const std::string& why);

  std::vector<RunningAttempt> Running() const;

  // Sets the context's stop signal, closes the queue, hands all shards back, ends all sandboxes,
  // and waits for that: little more than Slot::kGraceMs, or 8 seconds where states are to be saved.
  void Stop();

 private:
  const SlotContext context_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::atomic<size_t> live_;
  std::vector<std::thread> threads_;
};

}  // namespace corpgrid::agent
