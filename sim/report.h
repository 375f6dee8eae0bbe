#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "crypto/hash.h"
#include "sim/faults.h"
#include "sim/options.h"

namespace corpgrid::sim {

// What a job that is done was told of its results, and what is true.
struct JobBound {
  uint32_t shards = 0;
  uint32_t wrong = 0;
  uint32_t checked = 0;
  uint32_t found_wrong = 0;
  double bound = 0;
  bool promised = false;  // the job asked for it
};

// What one run or several came to.
struct Report {
  uint64_t runs = 0;
  uint64_t events = 0;
  int64_t simulated_ms = 0;
  int64_t calm_ms = 0;  // of it, without faults
  uint64_t jobs_done = 0;
  uint64_t jobs_failed = 0;  // each for a reason that the faults or the job explain
  uint64_t jobs_cancelled = 0;
  uint64_t jobs_starved = 0;  // of the cancelled: nobody was left who could compute them
  uint64_t shards_done = 0;
  uint64_t lies_accepted = 0;    // told alike by a quorum of owners
  std::vector<JobBound> bounds;  // of jobs whose results are not random
  std::array<uint64_t, kFaultKinds> faults{};
  crypto::Hash hash;  // of everything that happened, in order
  uint64_t violations = 0;
  std::vector<std::string> messages;  // of the first violations
  std::vector<std::string> failed;    // for each run with violations: the line that repeats it
};

// The command line that repeats a run.
std::string CommandOf(const Options& options);

// Adds a run to what several came to.
void Add(const Report& run, Report* sum);

// For people: the faults by kind, the counts, the hash, events a second of `elapsed_ms`, what
// repeats a failure, and the line "violations: N" at the end.
std::string ToText(const Report& report, int64_t elapsed_ms);
// The same for programs, one JSON object.
std::string ToJson(const Report& report, int64_t elapsed_ms);

// The part of the jobs, 0..1, whose results are no worse than they were told.
double CoverageOf(const std::vector<JobBound>& bounds);
// A table of runs among liars for people, a line for each report.
std::string BoundsTable(const std::vector<std::pair<std::string, Report>>& reports);

}  // namespace corpgrid::sim
