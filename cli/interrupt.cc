#include "cli/interrupt.h"

#include <signal.h>

namespace corpgrid::cli {
namespace {

// A signal handler reaches nothing but what is global.
std::atomic<bool> g_raised = false;
static_assert(std::atomic<bool>::is_always_lock_free);

void Raise(int) { g_raised = true; }

}  // namespace

InterruptFlag::InterruptFlag() {
  g_raised = false;
  struct sigaction action{};
  action.sa_handler = Raise;
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

InterruptFlag::~InterruptFlag() {
  signal(SIGINT, SIG_DFL);
  signal(SIGTERM, SIG_DFL);
}

const std::atomic<bool>& InterruptFlag::raised() const { return g_raised; }

}  // namespace corpgrid::cli
