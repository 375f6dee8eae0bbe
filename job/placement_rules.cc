#include "job/placement_rules.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "fmt/format.h"
#include "job/text.h"

namespace corpgrid::job {
namespace {

constexpr size_t kMaxLabelBytes = 64;
constexpr size_t kMaxSiteBytes = 100;

std::string SiteProblem(std::string_view site) {
  if (site.empty()) return "a site has a name";
  if (site.size() > kMaxSiteBytes) {
    return fmt::format("the name of a site has at most {} bytes, got {}", kMaxSiteBytes,
                       site.size());
  }
  return IsUtf8(site) && !HasControls(site)
             ? ""
             : fmt::format("the name of a site is one line of printable text, got {}", Quote(site));
}

void CheckTexts(const std::vector<std::string>& texts, const char* path,
                std::string (*problem_of)(std::string_view), std::vector<Problem>* problems) {
  if (texts.size() > JobSpec::kMaxLabels) {
    problems->push_back(
        {path, fmt::format("expected at most {}, got {}", JobSpec::kMaxLabels, texts.size())});
  }
  std::set<std::string_view> seen;
  for (const std::string& text : texts) {
    std::string problem = problem_of(text);
    if (problem.empty() && !seen.insert(text).second) problem = Quote(text) + " is listed twice";
    if (!problem.empty()) problems->push_back({path, std::move(problem)});
  }
}

}  // namespace

std::string LabelProblem(std::string_view label) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  const bool good =
      !label.empty() && label.size() <= kMaxLabelBytes && plain(label[0]) &&
      std::all_of(label.begin(), label.end(), [&](char c) {
        return plain(c) || std::string_view("-_./=").find(c) != std::string_view::npos;
      });
  if (good) return "";
  return fmt::format(
      "a label has 1 to {} letters, digits and \"-_./=\", and begins with a letter or a digit, as "
      "in os=debian12; got {}",
      kMaxLabelBytes, Quote(label));
}

absl::StatusOr<std::vector<std::string>> CheckLabels(std::vector<std::string> labels) {
  for (const std::string& label : labels) {
    if (const std::string problem = LabelProblem(label); !problem.empty()) {
      return absl::InvalidArgumentError(problem);
    }
  }
  std::sort(labels.begin(), labels.end());
  labels.erase(std::unique(labels.begin(), labels.end()), labels.end());
  if (labels.size() <= JobSpec::kMaxLabels) return labels;
  return absl::InvalidArgumentError(
      fmt::format("{} labels: a device has at most {}", labels.size(), JobSpec::kMaxLabels));
}

void CheckPlacement(const JobFields& fields, std::vector<Problem>* problems) {
  CheckTexts(fields.placement.labels, "placement.labels", LabelProblem, problems);
  CheckTexts(fields.placement.sites, "placement.sites", SiteProblem, problems);
}

}  // namespace corpgrid::job
