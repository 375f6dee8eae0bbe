#include "core/reputation.h"

#include <algorithm>
#include <cmath>

namespace corpgrid::core {
namespace {

constexpr double kMicro = 1e6;
constexpr double kZ = 1.96;  // of the normal distribution: 95 %, two-sided

double WeightOf(Fault fault) {
  switch (fault) {
    case Fault::kTimeout:
      return 2.0;
    case Fault::kMismatch:
      return 3.0;
    case Fault::kHeartbeatLoss:
      return 1.5;
    case Fault::kChecksum:
      return 5.0;
    case Fault::kCrash:
      return 2.5;
  }
  return 0;
}

struct Evidence {
  double good = 0;
  double bad = 0;
};

Evidence At(const ReputationRow& row, int64_t now_ms) {
  const double age = static_cast<double>(std::max<int64_t>(now_ms - row.evidence_ms, 0));
  const double left = std::exp2(-age / static_cast<double>(kHalfLifeMs)) / kMicro;
  return {static_cast<double>(row.good_micro) * left, static_cast<double>(row.bad_micro) * left};
}

void Add(ReputationRow* row, Evidence more, int64_t now_ms) {
  const Evidence now = At(*row, now_ms);
  row->good_micro = std::llround((now.good + more.good) * kMicro);
  row->bad_micro = std::llround((now.bad + more.bad) * kMicro);
  row->evidence_ms = std::max(row->evidence_ms, now_ms);
}

}  // namespace

std::string_view ToText(Tier tier) {
  switch (tier) {
    case Tier::kUnproven:
      return "unproven";
    case Tier::kBad:
      return "bad";
    case Tier::kPoor:
      return "poor";
    case Tier::kFair:
      return "fair";
    case Tier::kGood:
      return "good";
    case Tier::kExcellent:
      return "excellent";
  }
  return "";
}

void Reward(ReputationRow* row, int64_t now_ms) { Add(row, {.good = 1}, now_ms); }

void Penalise(ReputationRow* row, Fault fault, int64_t now_ms) {
  Add(row, {.bad = WeightOf(fault)}, now_ms);
}

void Confirm(ReputationRow* row, int64_t now_ms) {
  ++row->checked;
  Reward(row, now_ms);
}

void Refute(ReputationRow* row, int64_t now_ms) {
  row->checked = 0;
  row->good_micro = 0;
  Penalise(row, Fault::kMismatch, now_ms);
}

bool MayRunAlone(const ReputationRow& row, int64_t now_ms) {
  return row.checked >= kCheckedToRunAlone && TierOf(row, now_ms) == Tier::kExcellent;
}

double MeanOf(const ReputationRow& row, int64_t now_ms) {
  const Evidence now = At(row, now_ms);
  const double alpha = kPriorAlpha + now.good, beta = kPriorBeta + now.bad;
  return alpha / (alpha + beta);
}

double LowerBoundOf(const ReputationRow& row, int64_t now_ms) {
  const Evidence now = At(row, now_ms);
  const double n = kPriorAlpha + now.good + kPriorBeta + now.bad;
  const double p = (kPriorAlpha + now.good) / n;
  const double z2 = kZ * kZ;
  const double centre = p + z2 / (2 * n);
  const double spread = kZ * std::sqrt(p * (1 - p) / n + z2 / (4 * n * n));
  return std::max(0.0, (centre - spread) / (1 + z2 / n));
}

Tier TierOf(const ReputationRow& row, int64_t now_ms) {
  const Evidence now = At(row, now_ms);
  const double samples = now.good + now.bad;
  const double mean = MeanOf(row, now_ms);
  if (samples < kProvenSamples) return Tier::kUnproven;
  if (mean >= 0.95 && samples >= kExcellentSamples) return Tier::kExcellent;
  if (mean >= 0.85) return Tier::kGood;
  if (mean >= 0.70) return Tier::kFair;
  if (mean >= 0.50) return Tier::kPoor;
  return Tier::kBad;
}

int ExtraReplicas(Tier tier) {
  switch (tier) {
    case Tier::kExcellent:
      return -1;
    case Tier::kGood:
      return 0;
    case Tier::kFair:
      return 1;
    case Tier::kPoor:
    case Tier::kBad:
    case Tier::kUnproven:
      return 2;
  }
  return 0;
}

}  // namespace corpgrid::core
