#include "cli/placement_options.h"

#include <array>
#include <utility>

#include "absl/strings/numbers.h"
#include "crypto/hash.h"
#include "crypto/hex.h"
#include "fmt/format.h"

namespace corpgrid::cli {
namespace {

using core::Weights;

constexpr std::array<std::pair<std::string_view, double Weights::*>, 6> kTerms = {{
    {"reputation", &Weights::reputation},
    {"fit", &Weights::fit},
    {"thermal", &Weights::thermal},
    {"fairness", &Weights::fairness},
    {"diversity", &Weights::diversity},
    {"utilisation", &Weights::utilisation},
}};

std::string HashProblem(const std::string& text) {
  const bool good = text.size() == 2 * sizeof(crypto::Hash().bytes) &&
                    text.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos;
  return good ? ""
              : fmt::format(
                    "\"{}\" is no program's hash: 64 hexadecimal digits, as `corpgrid "
                    "device show` tells",
                    text);
}

}  // namespace

std::string SetWeight(const std::string& text, Weights* weights) {
  const size_t equals = text.find('=');
  for (const auto& [name, weight] : kTerms) {
    if (text.substr(0, equals) != name || equals == std::string::npos) continue;
    double number = 0;
    const bool good =
        absl::SimpleAtod(text.substr(equals + 1), &number) && number >= 0 && number <= 1;
    if (!good) return fmt::format("\"{}\": a weight is a number from 0 to 1", text);
    weights->*weight = number;
    return "";
  }
  return fmt::format(
      "\"{}\" is no weight: write TERM=NUMBER, the term one of reputation, fit, thermal, fairness, "
      "diversity, utilisation",
      text);
}

void AddWeightOption(CLI::App* command, Weights* weights) {
  const Weights usual;
  command
      ->add_option_function<std::vector<std::string>>(
          "--weight",
          [weights](const std::vector<std::string>& texts) {
            for (const std::string& text : texts) SetWeight(text, weights);
          },
          fmt::format("How much a term counts where devices are chosen, as thermal=0.2; again for "
                      "more (defaults: reputation={}, fit={}, thermal={}, fairness={}, "
                      "diversity={}, utilisation={})",
                      usual.reputation, usual.fit, usual.thermal, usual.fairness, usual.diversity,
                      usual.utilisation))
      ->type_name("TERM=NUMBER")
      ->allow_extra_args(false)
      ->check(CLI::Validator(
          [](const std::string& text) {
            Weights ignored;
            return SetWeight(text, &ignored);
          },
          ""));
}

void AddKnownAgentOption(CLI::App* command, std::vector<std::string>* programs) {
  command
      ->add_option_function<std::vector<std::string>>(
          "--known-agent",
          [programs](const std::vector<std::string>& hashes) {
            for (const std::string& hash : hashes) {
              crypto::Hash program;
              crypto::ParseHex(hash, program.bytes);  // HashProblem has seen that it is one
              programs->push_back(std::string(program.Raw()));
            }
          },
          "A program that agents may be to be attested, beside this one, by its hash "
          "(corpgrid device show); again for more")
      ->type_name("HASH")
      ->allow_extra_args(false)
      ->check(CLI::Validator(HashProblem, ""));
}

}  // namespace corpgrid::cli
