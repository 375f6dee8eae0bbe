#include "agent/executor.h"

#include <chrono>
#include <utility>

namespace corpgrid::agent {
namespace {

constexpr std::chrono::milliseconds kCancelAgain(20);

}  // namespace

Executor::Executor(SlotContext context, uint32_t slots)
    : context_(std::move(context)), live_(slots) {
  for (uint32_t i = 0; i < slots; ++i) slots_.push_back(std::make_unique<Slot>(&context_, i));
  for (const std::unique_ptr<Slot>& slot : slots_) {
    threads_.emplace_back([this, slot = slot.get()] {
      context_.resources->LowerThisThread("shards");
      slot->Run();
      --live_;
    });
  }
}

Executor::~Executor() { Stop(); }

bool Executor::Cancel(AttemptId id) {
  for (const std::unique_ptr<Slot>& slot : slots_) {
    if (slot->Cancel(id)) return true;
  }
  return false;
}

bool Executor::GiveBack(AttemptId id, const std::string& why) {
  for (const std::unique_ptr<Slot>& slot : slots_) {
    if (slot->GiveBack(id, why)) return true;
  }
  return false;
}

std::vector<RunningAttempt> Executor::Running() const {
  std::vector<RunningAttempt> running;
  for (const std::unique_ptr<Slot>& slot : slots_) {
    if (const std::optional<RunningAttempt> attempt = slot->Running()) running.push_back(*attempt);
  }
  return running;
}

void Executor::Stop() {
  context_.stop->Stop();
  context_.leases->Close();
  while (live_ > 0) {
    for (const std::unique_ptr<Slot>& slot : slots_) slot->GiveBackCurrent(kStopping);
    std::this_thread::sleep_for(kCancelAgain);
  }
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

}  // namespace corpgrid::agent
