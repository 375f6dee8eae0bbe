#include "inference/step_plan.h"

#include <algorithm>

namespace corpgrid::inference {
namespace {

constexpr double kAnswersWaitUs = 100'000;
constexpr uint32_t kShort = 8;  // so many prompts fit into a step

}  // namespace

StepBudget Paced(StepBudget budget, double us_per_token) {
  const double most = us_per_token > 0 ? std::min(kAnswersWaitUs / us_per_token, 1e9) : 0;
  budget.prompt_tokens_beside_answers = std::min(
      budget.tokens, std::max(budget.prompt_tokens_beside_answers, static_cast<uint32_t>(most)));
  return budget;
}

std::vector<uint32_t> PlanStep(std::span<const Pending> sequences, const StepBudget& budget) {
  std::vector<uint32_t> shares(sequences.size());
  uint32_t left = budget.tokens;
  for (size_t i = 0; i < sequences.size() && left > 0; ++i) {
    if (!sequences[i].answering || sequences[i].tokens != 1) continue;
    shares[i] = 1;
    --left;
  }
  if (left < budget.tokens) left = std::min(left, budget.prompt_tokens_beside_answers);
  const uint32_t is_short = left / kShort;
  uint32_t for_short = left / 2;
  for (size_t i = 0; i < sequences.size(); ++i) {
    if (shares[i] > 0 || sequences[i].tokens > std::min(is_short, for_short)) continue;
    shares[i] = sequences[i].tokens;
    for_short -= shares[i];
    left -= shares[i];
  }
  for (size_t i = 0; i < sequences.size() && left > 0; ++i) {
    if (shares[i] > 0) continue;
    shares[i] = std::min(sequences[i].tokens, left);
    left -= shares[i];
  }
  return shares;
}

}  // namespace corpgrid::inference
