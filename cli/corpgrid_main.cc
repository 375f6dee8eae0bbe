#include <cstdlib>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "cli/app.h"

int main(int argc, char** argv) {
  // gRPC's own log lines are for its developers; what matters comes back as a status.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  // Debian's absl looks for lock cycles at every lock; ThreadSanitizer does that in our tests.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  return corpgrid::cli::Run(std::vector<std::string>(argv, argv + argc));
}
