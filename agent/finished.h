#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "agent/attempt.h"
#include "agent/outputs.h"
#include "crypto/hash.h"
#include "job/statement.h"

namespace corpgrid::agent {

// An attempt that has ended and is to be handed in.
struct FinishedAttempt {
  Attempt attempt;
  job::Result result = {};
  std::vector<CollectedOutput> outputs = {};  // the bytes of result.outputs
  std::string detail = {};
  std::string stdout_tail = {};
  std::string stderr_tail = {};
  int64_t wall_us = 0;
  int64_t cpu_us = 0;
  uint64_t max_rss_bytes = 0;
};

inline constexpr char kStopping[] = "the agent was told to stop";

// What hands `attempt` back, because of `why`.
inline FinishedAttempt GivenBack(const Attempt& attempt, std::string why) {
  return {
      .attempt = attempt, .result = {job::Outcome::kGivenBack, 0, {}}, .detail = std::move(why)};
}

}  // namespace corpgrid::agent
