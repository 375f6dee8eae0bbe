#include <fmt/format.h>
#include <sys/resource.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "CLI/CLI.hpp"
#include "base/status_macros.h"
#include "inference/facts_json.h"
#include "inference/llama/estimate.h"
#include "inference/llama/gpus.h"
#include "inference/llama/inspect.h"
#include "inference/llama/measure.h"
#include "inference/llama/quantize.h"
#include "worker/confinement.h"
#include "worker/tools.h"
#include "worker/worker_process.h"

namespace corpgrid::worker {
namespace {

using inference::Json;

constexpr size_t kMaxTextBytes = 64 << 20;

struct Arguments {
  std::string file;
  bool try_it = false;
  inference::DecoderOptions options;
  std::string to;
  std::string type;
  std::string reference;
  std::string text;
  inference::QualityOptions quality;
};

void Line(const Json& json) {
  const std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  std::printf("%s\n", text.c_str());
  std::fflush(stdout);
}

void Progress(double fraction) { Line({{"progress", fraction}}); }

uint32_t Threads() { return std::max(1u, std::thread::hardware_concurrency()); }

absl::StatusOr<Json> RunInspect(const Arguments& arguments) {
  ASSIGN_OR_RETURN(const inference::Inspection inspection,
                   inference::Inspect(arguments.file, arguments.try_it));
  return Json{{"facts", ToJson(inspection.facts)}, {"verdict", ToJson(inspection.compatibility)}};
}

absl::StatusOr<Json> RunEstimate(const Arguments& arguments) {
  inference::DecoderOptions options = arguments.options;
  options.threads = Threads();
  ASSIGN_OR_RETURN(const inference::MemoryEstimate estimate,
                   inference::EstimateMemory(arguments.file, options));
  return ToJson(estimate);
}

absl::StatusOr<Json> RunQuantise(const Arguments& arguments) {
  RETURN_IF_ERROR(inference::Quantise(arguments.file, arguments.to, arguments.type, Progress));
  return Json{{"file", arguments.to}};
}

absl::StatusOr<Json> RunMeasure(const Arguments& arguments) {
  RETURN_IF_ERROR(inference::CheckFits(arguments.file));
  ASSIGN_OR_RETURN(const auto model, inference::Model::Load(arguments.file));
  ASSIGN_OR_RETURN(const inference::Speed speed, inference::MeasureSpeed(*model, Threads()));
  Json result = {{"prompt_tokens_per_s", speed.prompt_tokens_per_s},
                 {"answer_tokens_per_s", speed.answer_tokens_per_s},
                 {"weight_bytes", model->facts().weight_bytes},
                 {"quantisation", model->facts().quantisation}};
  if (arguments.text.empty()) return result;
  std::ifstream file(arguments.text, std::ios::binary);
  if (!file) return absl::NotFoundError(fmt::format("{} cannot be read", arguments.text));
  std::string text(kMaxTextBytes, '\0');
  text.resize(static_cast<size_t>(file.read(text.data(), kMaxTextBytes).gcount()));
  std::unique_ptr<inference::Model> reference;
  if (!arguments.reference.empty()) {
    RETURN_IF_ERROR(inference::CheckFits(arguments.reference));
    ASSIGN_OR_RETURN(reference, inference::Model::Load(arguments.reference));
  }
  inference::QualityOptions options = arguments.quality;
  options.threads = Threads();
  ASSIGN_OR_RETURN(const inference::Quality quality,
                   inference::MeasureQuality(*model, reference.get(), text, options, Progress));
  result["tokens"] = quality.tokens;
  result["perplexity"] = quality.perplexity;
  result["perplexity_error"] = quality.error;
  if (reference) {
    result["mean_divergence"] = quality.mean_divergence;
    result["p99_divergence"] = quality.p99_divergence;
    result["same_top"] = quality.same_top;
  }
  return result;
}

// A tool that has read a model file which breaks the library gets no further than a worker does.
absl::StatusOr<Json> RunConfined(const std::function<absl::StatusOr<Json>(const Arguments&)>& run,
                                 const Arguments& arguments) {
  std::vector<std::string> read = FoldersOf(arguments.file);
  for (const std::string& folder : FoldersOf(arguments.reference)) read.push_back(folder);
  if (!arguments.text.empty()) read.push_back(arguments.text);
  RETURN_IF_ERROR(ConfineFiles(read, FoldersOf(arguments.to)));
  return run(arguments);
}

// The JSON of `run`; its error on stdout as well, and the exit code.
int Run(const std::function<absl::StatusOr<Json>(const Arguments&)>& run,
        const Arguments& arguments) {
  const rlimit no_core = {0, 0};
  setrlimit(RLIMIT_CORE, &no_core);  // it would hold the model
  const absl::StatusOr<Json> result = RunConfined(run, arguments);
  if (result.ok()) {
    Line({{"result", *result}});
    return 0;
  }
  Line({{"error",
         {{"code", static_cast<int>(result.status().code())},
          {"message", std::string(result.status().message())}}}});
  return 1;
}

}  // namespace

void AddTools(CLI::App* app, std::function<int()>* tool) {
  const auto arguments = std::make_shared<Arguments>();
  const auto add = [&](const char* name, const char* description, auto run) {
    CLI::App* command = app->add_subcommand(name, description);
    command->add_option("file", arguments->file, "A GGUF file")->required();
    command->callback([=] { *tool = [=] { return Run(run, *arguments); }; });
    return command;
  };
  app->require_subcommand(0, 1);
  CLI::App* inspect =
      add("inspect", "What a model file is, and whether it can be hosted", RunInspect);
  inspect->add_flag("--try", arguments->try_it, "Compute a token, where there is memory for that");

  CLI::App* estimate = add("estimate", "The memory that a worker needs for it", RunEstimate);
  estimate->add_option("--context", arguments->options.context, "Tokens of each sequence");
  estimate->add_option("--sequences", arguments->options.slots, "At once");
  estimate->add_option("--step-tokens", arguments->options.step_tokens, "In one step");
  estimate->add_flag("--full-precision", arguments->options.full_precision,
                     "Keys and values of 32 bits");
  estimate->add_flag_callback(
      "--shared-memory", [=] { arguments->options.layout = inference::KvShape::Layout::kShared; });

  CLI::App* quantise = add("quantize", "Write it anew with weights of another type", RunQuantise);
  quantise->add_option("--to", arguments->to, "The file to write")->required();
  quantise->add_option("--type", arguments->type, "Q4_K_M or another")->required();

  CLI::App* measure = add("measure", "How quick it is, and how well it knows a text", RunMeasure);
  measure->add_option("--text", arguments->text, "A file with text");
  measure->add_option("--reference", arguments->reference, "The model to compare with");
  measure->add_option("--chunk", arguments->quality.chunk_tokens, "Tokens read at once");
  measure->add_option("--tokens", arguments->quality.max_tokens, "Of the text, at most");

  // Not confined: it reads no file of a stranger, and drivers open what only they know.
  app->add_subcommand("gpus", "The GPUs that models can be hosted on")->callback([=] {
    *tool = [] {
      Json gpus = Json::array();
      for (const inference::Gpu& gpu : inference::ListGpus()) gpus.push_back(ToJson(gpu));
      Line({{"result", {{"gpus", std::move(gpus)}}}});
      return 0;
    };
  });
}

}  // namespace corpgrid::worker
