#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace corpgrid::inference {

// How many tokens one step may compute.
struct StepBudget {
  uint32_t tokens = 512;
  // Of prompts, while answers go on: their next tokens wait for this step. The library computes the
  // answers' tokens apart from a prompt's others, so that prompts get the less the smaller it is:
  // beside 8 answers, with prompts of 2,000 tokens, 130 a second with 128, 157 with 256, 152 with
  // 512 (measured, 254 M parameters, Q8_0, a processor).
  uint32_t prompt_tokens_beside_answers = 256;
};

// The same budget for a machine that computes a token of a prompt in `us_per_token`: where that is
// quick, prompts get more beside answers, as much as holds these up by 100 ms at most.
StepBudget Paced(StepBudget budget, double us_per_token);

// A sequence as the plan sees it.
struct Pending {
  uint32_t tokens = 0;     // known and not computed yet, at least 1
  bool answering = false;  // its prompt was computed before
};

// How many tokens of each sequence the next step computes; 0: it waits. `sequences` are the oldest
// first. The next token of each answer comes first, so that no prompt holds up an answer by more
// than its share of a step. What is left of the budget goes to prompts: half of it to those that
// are short, so that they do not wait for long ones that came before, the rest in order.
std::vector<uint32_t> PlanStep(std::span<const Pending> sequences, const StepBudget& budget);

}  // namespace corpgrid::inference
