#include <cstdlib>
#include <memory>

#include "base/clock.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "cli/interrupt.h"
#include "cli/models.h"
#include "cli/progress_bar.h"
#include "cli/secret.h"
#include "cli/table.h"
#include "fmt/format.h"
#include "models/add_model.h"

namespace corpgrid::cli {
namespace {

constexpr int64_t kQuietMs = 500;

constexpr char kExamples[] =
    "  corpgrid model add llama-3-8b-Q4_K_M.gguf\n"
    "  corpgrid model add big-00001-of-00003.gguf --link         all three parts, without a copy\n"
    "  corpgrid model add hf://org/repo/model-Q4_K_M.gguf --name assistant\n"
    "  HF_TOKEN=… corpgrid model add hf://org/gated/model.gguf   or --token @FILE\n"
    "  corpgrid model add ./folder-of-safetensors --name mine\n"
    "  corpgrid model add https://models.example/m.gguf --sha256 9f86d081…\n"
    "Ctrl-C stops it; the same command goes on from there. $HF_ENDPOINT or --hub name another hub.";

struct AddArguments {
  std::string models;
  std::string token;
  models::AddRequest request;
};

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

absl::Status Add(const Common& common, const AddArguments& arguments) {
  models::AddRequest request = arguments.request;
  if (request.fetch.hub.empty()) request.fetch.hub = Environment("HF_ENDPOINT");
  if (request.fetch.hub.empty()) request.fetch.hub = models::kDefaultHub;
  ASSIGN_OR_RETURN(request.fetch.token,
                   ReadSecret(arguments.token.empty() ? Environment("HF_TOKEN") : arguments.token));
  ASSIGN_OR_RETURN(const auto store, OpenModels(common, arguments.models));
  const InterruptFlag interrupt;
  request.fetch.stop = &interrupt.raised();
  request.worker = ModelWorker(&interrupt.raised());
  auto bars = std::make_unique<ByteBars>();
  const absl::StatusOr<models::StoredModel> added = models::AddModel(
      store.get(), request,
      [&](std::string_view what, uint64_t done, uint64_t total) { bars->Show(what, done, total); },
      SystemClock());
  bars.reset();
  RETURN_IF_ERROR(added.status());
  if (common.json) {
    PrintJson(ToJson(*added));
    return absl::OkStatus();
  }
  const inference::ModelFacts& facts = added->facts;
  Say(fmt::format("added {}: {} {} {}, {}", added->name, Printable(facts.architecture),
                  FormatParameters(facts.parameters), Printable(facts.quantisation),
                  FormatBytes(added->bytes())));
  if (!added->verdict.problem.empty()) Say(Printable(added->verdict.problem));
  return absl::OkStatus();
}

}  // namespace

void ByteBars::Show(std::string_view what, uint64_t done, uint64_t total) {
  if (!bar_ || what != what_) {
    bar_.reset();
    what_ = what;
    bar_ =
        std::make_unique<ProgressBar>(what_, Unit::kBytes, stderr, DetectStyle(stderr), kQuietMs);
  }
  bar_->Update(
      {.done = done,
       .total = total,
       .fraction = total > 0 ? static_cast<double>(done) / static_cast<double>(total) : 0});
}

void AddModelAddCommand(CommandTree& tree, CLI::App* group) {
  const auto arguments = std::make_shared<AddArguments>();
  arguments->request.fetch.hub.clear();
  CLI::App* add = AddCommand(tree, group, "add", "Fetch or copy a model, check it, and keep it",
                             kExamples, [&common = tree.common, arguments]() -> int {
                               return ModelExit(common, Add(common, *arguments));
                             });
  AddModelsOption(add, &arguments->models);
  models::AddRequest& request = arguments->request;
  add->add_option("source", request.source,
                  "A GGUF file, hf://ORG/REPO[@REVISION]/FILE.gguf, or an https URL; of a split "
                  "model any part. Or a folder of safetensors, which is converted")
      ->type_name("FILE")
      ->required();
  add->add_option("--name", request.name, "What to call it (default: after the file)")
      ->type_name("NAME");
  add->add_option("--sha256", request.sha256, "What the file must have")->type_name("DIGITS");
  add->add_option("--token", arguments->token,
                  "For the hub, which alone gets it; @FILE reads it (default: $HF_TOKEN)")
      ->type_name("TOKEN");
  add->add_option(
         "--hub", request.fetch.hub,
         fmt::format("The hub's address (default: $HF_ENDPOINT, else {})", models::kDefaultHub))
      ->type_name("URL");
  add->add_flag("--link", request.link, "Of a local file: link it instead of copying it");
  add->add_flag("--anyway", request.anyway, "Keep it even if this machine cannot host it");
}

}  // namespace corpgrid::cli
