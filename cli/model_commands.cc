#include <filesystem>
#include <memory>

#include "base/clock.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/data_folder.h"
#include "cli/interrupt.h"
#include "cli/models.h"
#include "cli/own_programs.h"
#include "cli/table.h"
#include "fmt/format.h"
#include "inference/facts_json.h"

namespace corpgrid::cli {
namespace {

struct ModelArguments {
  std::string models;
  std::string name;
  uint32_t context = 0;  // the usual one
  uint32_t sequences = 16;
  std::string device;  // that a model is taken from; empty: this machine
};

// "runs", or in a word why not.
std::string VerdictWord(const inference::Compatibility& verdict) {
  if (!verdict.loads) return "not loaded";
  if (!verdict.usable()) return "no text";
  return verdict.tried ? "runs" : "loads";
}

std::string VerdictText(const models::StoredModel& model) {
  const inference::Compatibility& verdict = model.verdict;
  std::string text = verdict.usable() && verdict.tried ? "runs here: a token was computed"
                     : verdict.usable()                ? "loads here"
                                                       : "cannot be hosted here";
  if (!verdict.problem.empty()) text += ": " + verdict.problem;
  if (verdict.embeds) text += "; it only makes embeddings";
  if (verdict.generates) {
    text += model.facts.chat_template.empty() ? "; no chat template: it continues texts only"
                                              : "; has a chat template";
  }
  return text;
}

absl::Status ListModels(const Common& common, const ModelArguments& arguments) {
  ASSIGN_OR_RETURN(const auto store, OpenModels(common, arguments.models));
  ASSIGN_OR_RETURN(const models::Listing listing, store->List());
  if (common.json) {
    Json all = Json::array(), unfinished = Json::array();
    for (const models::StoredModel& model : listing.models) all.push_back(ToJson(model));
    for (const models::Unfinished& one : listing.unfinished) {
      unfinished.push_back({{"name", one.name},
                            {"source", one.source},
                            {"bytes", one.bytes},
                            {"running", one.running}});
    }
    PrintJson(Json{{"folder", store->folder()},
                   {"models", std::move(all)},
                   {"unfinished", std::move(unfinished)},
                   {"damaged", listing.damaged}});
    return absl::OkStatus();
  }
  Table table({{"NAME"},
               {"ARCHITECTURE"},
               {"PARAMETERS", true},
               {"TYPE"},
               {"CONTEXT", true},
               {"SIZE", true},
               {"VERDICT"},
               {"ADDED"}});
  const int64_t now_ms = SystemClock().WallMs();
  for (const models::StoredModel& model : listing.models) {
    const inference::ModelFacts& facts = model.facts;
    table.AddRow({model.name, facts.architecture, FormatParameters(facts.parameters),
                  facts.quantisation, std::to_string(facts.trained_context),
                  FormatBytes(model.bytes()), VerdictWord(model.verdict),
                  FormatAgo(now_ms - model.added_wall_ms)});
  }
  if (!table.empty()) Print(table.ToText());
  for (const models::Unfinished& one : listing.unfinished) {
    Say(fmt::format("{}: {} {} of {}", one.name, FormatBytes(one.bytes),
                    one.running ? "so far, being added," : "so far, not finished,",
                    Printable(one.source)));
  }
  for (const std::string& damaged : listing.damaged) Say("damaged: " + Printable(damaged));
  if (table.empty()) {
    Say(fmt::format("no models in {}; add one: corpgrid model add FILE.gguf", store->folder()));
  }
  return absl::OkStatus();
}

std::string FactsText(const models::StoredModel& model, const inference::MemoryEstimate& estimate,
                      const ModelArguments& arguments) {
  const inference::ModelFacts& facts = model.facts;
  Details details;
  details.Add("name", model.name);
  if (!facts.name.empty()) details.Add("calls itself", Printable(facts.name));
  details.Add("source", Printable(model.source));
  details.Add("added", FormatLocalTime(model.added_wall_ms));
  details.Add("verdict", Printable(VerdictText(model)));
  details.Add("architecture", Printable(facts.architecture));
  details.Add("parameters", FormatParameters(facts.parameters));
  details.Add("type", Printable(facts.quantisation));
  details.Add("weights", FormatBytes(facts.weight_bytes));
  details.Add("trained context", fmt::format("{} tokens", facts.trained_context));
  details.Add("shape", fmt::format("{} layers of {}, {} heads, {} of keys and values", facts.layers,
                                   facts.embedding, facts.heads, facts.kv_heads));
  details.Add("vocabulary", fmt::format("{} tokens", facts.vocabulary));
  for (const models::StoredFile& file : model.files) {
    details.Add("file",
                fmt::format("{}  {}  sha256 {}", file.name, FormatBytes(file.bytes), file.sha256));
  }
  if (estimate.total_bytes() > 0) {
    const std::string texts =
        facts.only_embeds
            ? "embeddings"
            : fmt::format("{} sequences of {} tokens", arguments.sequences, arguments.context);
    details.Add(
        "memory",
        fmt::format("about {} for {}: {} of weights, {} of "
                    "keys and values, {} to compute, {} for the worker",
                    FormatBytes(estimate.total_bytes()), texts, FormatBytes(estimate.weight_bytes),
                    FormatBytes(estimate.kv_bytes), FormatBytes(estimate.compute_bytes),
                    FormatBytes(estimate.process_bytes)));
  }
  return details.ToText();
}

absl::Status ShowModel(const Common& common, ModelArguments arguments) {
  ASSIGN_OR_RETURN(const auto store, OpenModels(common, arguments.models));
  ASSIGN_OR_RETURN(const models::StoredModel model, store->Find(arguments.name));
  if (arguments.context == 0) arguments.context = model.facts.usual_context();
  inference::MemoryEstimate estimate;
  if (model.verdict.usable()) {
    const InterruptFlag interrupt;
    ASSIGN_OR_RETURN(estimate,
                     models::EstimateFile(ModelWorker(&interrupt.raised()), store->PathOf(model),
                                          arguments.context, arguments.sequences));
  }
  if (!common.json) {
    Print(FactsText(model, estimate, arguments));
    return absl::OkStatus();
  }
  Json json = ToJson(model);
  json["path"] = store->PathOf(model);
  json["estimate"] = estimate.total_bytes() > 0 ? inference::ToJson(estimate) : Json();
  json["estimate_context"] = arguments.context;
  json["estimate_sequences"] = arguments.sequences;
  PrintJson(json);
  return absl::OkStatus();
}

absl::Status RemoveModel(const Common& common, const ModelArguments& arguments) {
  if (arguments.device.empty()) {
    ASSIGN_OR_RETURN(const auto store, OpenModels(common, arguments.models));
    RETURN_IF_ERROR(store->Remove(arguments.name));
  } else {
    RETURN_IF_ERROR(RemoveFromDevice(common, arguments.name, arguments.device));
  }
  if (common.json) {
    PrintJson(Json{{"removed", arguments.name}});
  } else {
    Say(fmt::format("removed {}", arguments.name));
  }
  return absl::OkStatus();
}

}  // namespace

void AddModelsOption(CLI::App* command, std::string* models) {
  command
      ->add_option("--models", *models, "The folder of models (default: models in the data folder)")
      ->type_name("DIR");
}

absl::StatusOr<std::unique_ptr<models::ModelStore>> OpenModels(const Common& common,
                                                               const std::string& models) {
  return models::ModelStore::Open(models.empty() ? common.data_folder + "/models"
                                                 : AbsoluteFolder(models));
}

models::WorkerProgram ModelWorker(const std::atomic<bool>* stop) {
  models::WorkerProgram worker;
  worker.path = std::filesystem::path(ThisProgram()).parent_path() / "corpgrid-worker";
  worker.stop = stop;
  return worker;
}

int ModelExit(const Common& common, const absl::Status& status, bool asks_grid) {
  if (status.ok()) return kExitDone;
  const int code = Fail(common, status);
  if (status.code() == absl::StatusCode::kCancelled) return kExitInterrupted;
  return code == kExitUnreachable && !asks_grid ? kExitFailed : code;
}

Json ToJson(const models::StoredModel& model) {
  Json json = Json::parse(models::FormatManifest(model));
  json.erase("format");
  json["bytes"] = model.bytes();
  return json;
}

std::string FormatParameters(uint64_t parameters) {
  const auto count = static_cast<double>(parameters);
  if (parameters >= 1'000'000'000) return fmt::format("{:.1f} B", count / 1e9);
  if (parameters >= 1'000'000) return fmt::format("{:.0f} M", count / 1e6);
  return fmt::format("{:.0f} K", count / 1e3);
}

void AddModelCommands(CommandTree& tree) {
  const auto arguments = std::make_shared<ModelArguments>();
  CLI::App* group =
      AddGroup(tree, "model", "The language models that this machine keeps, and the grid hosts");
  AddModelAddCommand(tree, group);
  const auto add = [&](const char* name, const char* description, const char* examples, auto run) {
    CLI::App* command = AddCommand(tree, group, name, description, examples,
                                   [&common = tree.common, arguments, run]() -> int {
                                     return ModelExit(common, run(common, *arguments),
                                                      /*asks_grid=*/!arguments->device.empty());
                                   });
    AddModelsOption(command, &arguments->models);
    return command;
  };
  add("list", "What is there, and what is on its way",
      "  corpgrid model list\n"
      "  corpgrid model list --json | jq '.models[].name'",
      ListModels);
  CLI::App* show = add("show", "A model in detail, and the memory that it needs",
                       "  corpgrid model show llama-3-8b\n"
                       "  corpgrid model show llama-3-8b --context 8192 --sequences 4",
                       ShowModel);
  show->add_option("name", arguments->name, "The model")->type_name("MODEL")->required();
  show->add_option("--context", arguments->context,
                   "Tokens that each sequence may have (default: 4096, or as many as it was "
                   "trained for)")
      ->type_name("TOKENS");
  show->add_option("--sequences", arguments->sequences, "Answers that are computed at once")
      ->type_name("N")
      ->capture_default_str();
  CLI::App* remove = add("rm", "Remove a model, or what was begun of it",
                         "  corpgrid model rm llama-3-8b\n"
                         "  corpgrid model rm llama-3-8b --from server-1\n"
                         "A worker that has it loaded goes on; its disk space is free after that.",
                         RemoveModel);
  remove->add_option("name", arguments->name, "The model")->type_name("MODEL")->required();
  remove
      ->add_option("--from", arguments->device,
                   "From the device of that name or number, to which it was uploaded")
      ->type_name("DEVICE");
  AddModelQuantizeCommands(tree, group);
  AddModelUploadCommand(tree, group);
  AddModelHostingCommands(tree, group);
  AddModelResourcesCommand(tree, group);
}

}  // namespace corpgrid::cli
