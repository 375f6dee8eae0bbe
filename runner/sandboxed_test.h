#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "runner/session.h"

namespace corpgrid::runner {

// The user's processes, without this one.
std::set<pid_t> MyProcesses();

// What Session::Start said to root, when the tests were started as root.
extern std::optional<absl::Status> status_as_root;

// Tests that run shards. When the tests run as root they become a user of their own first.
class SandboxedTest : public testing::Test {
 protected:
  struct Result {
    ShardExit exit;
    std::string out, err;
  };

  SandboxedTest();
  ~SandboxedTest() override;

  SandboxOptions Options() const;
  void Start(const SandboxOptions& options);
  Result Run(const std::vector<std::string>& argv, int64_t wall_ms = 20'000);
  Result Shell(const std::string& script, int64_t wall_ms = 20'000);
  Result Python(const std::string& program, int64_t wall_ms = 20'000);

  // Of this user, started since the test began; waits up to `wait_ms` for none to be left.
  std::set<pid_t> LeftOver(int64_t wait_ms) const;

  std::string folder_;  // ours, empty
  std::set<pid_t> before_ = MyProcesses();
  std::unique_ptr<Session> session_;
};

}  // namespace corpgrid::runner
