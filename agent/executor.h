#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
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

  std::vector<RunningAttempt> Running() const;

  // Sets the context's stop signal, closes the queue, ends all shards and sandboxes, and waits for
  // that: little more than Slot::kGraceMs.
  void Stop();

 private:
  const SlotContext context_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::atomic<size_t> live_;
  std::vector<std::thread> threads_;
};

}  // namespace corpgrid::agent
