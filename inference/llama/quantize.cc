#include "inference/llama/quantize.h"

#include <llama.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <exception>
#include <string_view>

#include "base/status_macros.h"
#include "base/text.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "inference/llama/library.h"

namespace corpgrid::inference {
namespace {

struct Type {
  std::string_view name;
  llama_ftype type;
};

// By bits a weight. NVFP4 the library knows and does not write; IQ1_S, IQ1_M, IQ2_XXS, IQ2_XS,
// IQ2_S, IQ2_M, IQ3_XXS, IQ3_XS and Q2_K_S are refused by the library without data on what is
// important.
constexpr std::array kTypes = {Type{"F32", LLAMA_FTYPE_ALL_F32},
                               Type{"F16", LLAMA_FTYPE_MOSTLY_F16},
                               Type{"BF16", LLAMA_FTYPE_MOSTLY_BF16},
                               Type{"Q8_0", LLAMA_FTYPE_MOSTLY_Q8_0},
                               Type{"Q6_K", LLAMA_FTYPE_MOSTLY_Q6_K},
                               Type{"Q5_1", LLAMA_FTYPE_MOSTLY_Q5_1},
                               Type{"Q5_K_M", LLAMA_FTYPE_MOSTLY_Q5_K_M},
                               Type{"Q5_K_S", LLAMA_FTYPE_MOSTLY_Q5_K_S},
                               Type{"Q5_0", LLAMA_FTYPE_MOSTLY_Q5_0},
                               Type{"Q4_1", LLAMA_FTYPE_MOSTLY_Q4_1},
                               Type{"Q4_K_M", LLAMA_FTYPE_MOSTLY_Q4_K_M},
                               Type{"Q4_K_S", LLAMA_FTYPE_MOSTLY_Q4_K_S},
                               Type{"Q4_0", LLAMA_FTYPE_MOSTLY_Q4_0},
                               Type{"IQ4_NL", LLAMA_FTYPE_MOSTLY_IQ4_NL},
                               Type{"MXFP4_MOE", LLAMA_FTYPE_MOSTLY_MXFP4_MOE},
                               Type{"IQ4_XS", LLAMA_FTYPE_MOSTLY_IQ4_XS},
                               Type{"Q3_K_L", LLAMA_FTYPE_MOSTLY_Q3_K_L},
                               Type{"Q3_K_M", LLAMA_FTYPE_MOSTLY_Q3_K_M},
                               Type{"IQ3_M", LLAMA_FTYPE_MOSTLY_IQ3_M},
                               Type{"IQ3_S", LLAMA_FTYPE_MOSTLY_IQ3_S},
                               Type{"Q3_K_S", LLAMA_FTYPE_MOSTLY_Q3_K_S},
                               Type{"Q2_K", LLAMA_FTYPE_MOSTLY_Q2_K},
                               Type{"Q2_0", LLAMA_FTYPE_MOSTLY_Q2_0},
                               Type{"TQ2_0", LLAMA_FTYPE_MOSTLY_TQ2_0},
                               Type{"TQ1_0", LLAMA_FTYPE_MOSTLY_TQ1_0},
                               Type{"Q1_0", LLAMA_FTYPE_MOSTLY_Q1_0}};

absl::StatusOr<llama_ftype> FileType(std::string name) {
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  for (const Type& type : kTypes) {
    if (type.name == name) return type.type;
  }
  const std::vector<std::string> names = QuantisationTypes();
  const std::string nearest = Nearest(name, names);
  return absl::InvalidArgumentError(fmt::format(
      "\"{}\" is no type of weights{}; these are: {}", name,
      nearest.empty() ? "" : fmt::format(" (did you mean {}?)", nearest), fmt::join(names, " ")));
}

// "[   3/  38]  blk.0.attn_q.weight …"
double FractionOf(const std::string& line) {
  unsigned done = 0, all = 0;
  const size_t at = line.find('[');
  if (at == std::string::npos || std::sscanf(line.c_str() + at, "[%u/%u]", &done, &all) != 2) {
    return 0;
  }
  return all > 0 ? static_cast<double>(done) / all : 0;
}

}  // namespace

std::vector<std::string> QuantisationTypes() {
  std::vector<std::string> names;
  for (const Type& type : kTypes) names.emplace_back(type.name);
  return names;
}

absl::Status Quantise(const std::string& from, const std::string& to, const std::string& type,
                      const std::function<void(double)>& on_progress) {
  ASSIGN_OR_RETURN(const llama_ftype file_type, FileType(type));
  RETURN_IF_ERROR(PrepareLibrary());
  const LogCapture log([&](const std::string& line) {
    if (const double fraction = FractionOf(line); fraction > 0) on_progress(fraction);
  });
  llama_model_quantize_params params = llama_model_quantize_default_params();
  params.ftype = file_type;
  params.allow_requantize = true;
  uint32_t failed = 1;
  try {
    failed = llama_model_quantize(from.c_str(), to.c_str(), &params);
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(
        fmt::format("{} cannot be written as {}: {}", from, type, error.what()));
  }
  if (failed == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("{} cannot be written as {}: {}", from, type,
                                                log.LastError("the library gives no reason")));
}

}  // namespace corpgrid::inference
