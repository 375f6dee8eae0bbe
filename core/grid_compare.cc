// Which results are the same where equal bytes are too much to ask.
//
// Closeness is not transitive: 1.0 may be close to 1.1 and that to 1.2, but 1.0 not to 1.2. So
// results form no groups. A result has the votes of those that are close to *it*, itself included;
// with enough of them it is accepted, and every result that counted is within the tolerance of the
// accepted one. docs/decisions/0008-numeric-validators.md has more.

#include <algorithm>
#include <utility>

#include "core/grid.h"
#include "fmt/format.h"

namespace corpgrid::core {

Reply Grid::Do(const Compared& c, Effects* effects) {
  const Found found = FindAttempt(c.attempt);
  if (!found.attempt || !found.attempt->result_key || found.attempt->counted) {
    return absl::OkStatus();  // The shard is decided, or this was asked twice.
  }
  Attempt& attempt = *found.attempt;
  for (Attempt& other : found.shard->attempts) {
    if (std::find(c.close.begin(), c.close.end(), other.row.id) == c.close.end()) continue;
    attempt.close.push_back(other.row.id);
    other.close.push_back(attempt.row.id);
  }
  attempt.counted = true;
  if (!c.difference.empty()) {
    found.shard->row.error = fmt::format("results differ in {}", c.difference);
  }
  Decide(*found.job, *found.shard, effects);
  return absl::OkStatus();
}

bool Grid::LooksInside(const Job& job) {
  return job.spec->redundancy.validator != job::Validator::kExact;
}

bool Grid::Agree(const Job& job, const Attempt& a, const Attempt& b) {
  if (!LooksInside(job) || !a.succeeded || !b.succeeded) return a.result_key == b.result_key;
  return &a == &b || std::find(a.close.begin(), a.close.end(), b.row.id) != a.close.end();
}

Comparison Grid::ComparisonOf(const Shard& shard, const Attempt& attempt) {
  Comparison comparison;
  comparison.shard = shard.row.id;
  comparison.result = {attempt.row.id, attempt.outputs};
  for (const Attempt& other : shard.attempts) {
    if (&other != &attempt && other.succeeded) {
      comparison.others.push_back({other.row.id, other.outputs});
    }
  }
  return comparison;
}

std::vector<Comparison> Grid::OpenComparisons() const {
  std::vector<Comparison> open;
  for (const auto& [id, job] : jobs_) {
    if (!LooksInside(job)) continue;
    for (const auto& [index, shard] : job.live) {
      for (const Attempt& attempt : shard.attempts) {
        if (!attempt.succeeded || attempt.counted) continue;
        open.push_back(ComparisonOf(shard, attempt));
        // Each pair once: the later one asks.
        std::erase_if(open.back().others, [&](const Comparison::Side& other) {
          return attempt.row.id < other.attempt;
        });
      }
    }
  }
  return open;
}

}  // namespace corpgrid::core
