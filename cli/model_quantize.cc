#include <filesystem>
#include <memory>

#include "base/clock.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "cli/interrupt.h"
#include "cli/models.h"
#include "cli/table.h"
#include "cli/work_bar.h"
#include "fmt/format.h"
#include "models/quantize_model.h"

namespace corpgrid::cli {
namespace {

struct QuantizeArguments {
  std::string models;
  std::string model;
  std::string name;
  std::string type;
  std::vector<std::string> types = {"Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0"};
  std::string text;
  uint32_t tokens = 4096;
};

absl::Status Quantize(const Common& common, const QuantizeArguments& arguments) {
  ASSIGN_OR_RETURN(const auto store, OpenModels(common, arguments.models));
  ASSIGN_OR_RETURN(const models::StoredModel model, store->Find(arguments.model));
  const InterruptFlag interrupt;
  WorkBar bar;
  const absl::StatusOr<models::StoredModel> made = models::QuantiseModel(
      store.get(), model, arguments.type, arguments.name, ModelWorker(&interrupt.raised()),
      [&](std::string_view what, double fraction) { bar.Show(what, fraction); }, SystemClock());
  bar.Finish();
  RETURN_IF_ERROR(made.status());
  if (common.json) {
    PrintJson(ToJson(*made));
  } else {
    Say(fmt::format("added {}: {}, {}; {} was {}", made->name, Printable(made->facts.quantisation),
                    FormatBytes(made->bytes()), model.name, FormatBytes(model.bytes())));
  }
  return absl::OkStatus();
}

std::string Number(const std::optional<double>& value, int digits) {
  return value ? fmt::format("{:.{}f}", *value, digits) : "";
}

Json ToJson(const models::TypeMeasurement& measured) {
  const auto number = [](const std::optional<double>& value) {
    return value ? Json(*value) : Json();
  };
  return {{"type", measured.type},
          {"weight_bytes", measured.weight_bytes},
          {"prompt_tokens_per_s", measured.prompt_tokens_per_s},
          {"answer_tokens_per_s", measured.answer_tokens_per_s},
          {"perplexity", number(measured.perplexity)},
          {"perplexity_error", number(measured.perplexity_error)},
          {"mean_divergence", number(measured.mean_divergence)},
          {"p99_divergence", number(measured.p99_divergence)},
          {"same_top", number(measured.same_top)}};
}

absl::Status Bench(const Common& common, const QuantizeArguments& arguments) {
  ASSIGN_OR_RETURN(const auto store, OpenModels(common, arguments.models));
  ASSIGN_OR_RETURN(const models::StoredModel model, store->Find(arguments.model));
  const std::string text =
      arguments.text.empty() ? "" : std::filesystem::absolute(arguments.text).string();
  const InterruptFlag interrupt;
  WorkBar bar;
  const auto measured = models::MeasureTypes(
      store.get(), model, arguments.types, text, arguments.tokens, ModelWorker(&interrupt.raised()),
      [&](std::string_view what, double fraction) { bar.Show(what, fraction); });
  bar.Finish();
  RETURN_IF_ERROR(measured.status());
  if (common.json) {
    Json all = Json::array();
    for (const models::TypeMeasurement& one : *measured) all.push_back(ToJson(one));
    PrintJson(Json{{"model", model.name}, {"types", std::move(all)}});
    return absl::OkStatus();
  }
  std::vector<Column> columns = {
      {"TYPE"}, {"WEIGHTS", true}, {"PROMPT/S", true}, {"ANSWER/S", true}};
  if (!text.empty()) {
    for (const char* title : {"PERPLEXITY", "+-", "DIVERGENCE", "99 %", "SAME TOP"}) {
      columns.push_back({title, true});
    }
  }
  Table table(columns);
  for (const models::TypeMeasurement& one : *measured) {
    std::vector<std::string> row = {one.type, FormatBytes(one.weight_bytes),
                                    fmt::format("{:.0f}", one.prompt_tokens_per_s),
                                    fmt::format("{:.1f}", one.answer_tokens_per_s)};
    if (!text.empty()) {
      const std::optional<double> percent =
          one.same_top ? std::optional(*one.same_top * 100) : std::nullopt;
      row.insert(row.end(), {Number(one.perplexity, 3), Number(one.perplexity_error, 3),
                             Number(one.mean_divergence, 5), Number(one.p99_divergence, 5),
                             percent ? Number(percent, 1) + " %" : ""});
    }
    table.AddRow(std::move(row));
  }
  Print(table.ToText());
  return absl::OkStatus();
}

}  // namespace

void AddModelQuantizeCommands(CommandTree& tree, CLI::App* group) {
  const auto arguments = std::make_shared<QuantizeArguments>();
  const auto add = [&](const char* name, const char* description, const char* examples, auto run) {
    CLI::App* command = AddCommand(tree, group, name, description, examples,
                                   [&common = tree.common, arguments, run]() -> int {
                                     return ModelExit(common, run(common, *arguments));
                                   });
    AddModelsOption(command, &arguments->models);
    command->add_option("model", arguments->model, "The model")->type_name("MODEL")->required();
    return command;
  };
  CLI::App* quantize = add("quantize", "Write a model anew with smaller weights",
                           "  corpgrid model quantize llama-3-8b --type Q4_K_M\n"
                           "  corpgrid model quantize llama-3-8b --type Q8_0 --name careful\n"
                           "It is a model of its own then; the first stays. Start from F16 or F32 "
                           "weights where you can.",
                           Quantize);
  quantize->add_option("--type", arguments->type, "Of the weights: Q8_0, Q4_K_M, …")
      ->type_name("TYPE")
      ->required();
  quantize->add_option("--name", arguments->name, "What to call it (default: NAME-TYPE)")
      ->type_name("NAME");

  CLI::App* bench =
      add("bench", "Compare types of weights on this machine",
          "  corpgrid model bench llama-3-8b\n"
          "  corpgrid model bench llama-3-8b --types Q8_0,Q4_K_M --text manual.txt\n"
          "PROMPT/S and ANSWER/S are tokens a second of one sequence. With a text: how "
          "well each knows it (perplexity,\nless is better), and how far its "
          "predictions are from those of the model as it is (divergence in nats a "
          "token).",
          Bench);
  bench->add_option("--types", arguments->types, "Types to compare, with commas between")
      ->type_name("TYPES")
      ->delimiter(',')
      ->capture_default_str();
  bench->add_option("--text", arguments->text, "Text of the kind that it will be used for")
      ->type_name("FILE");
  bench->add_option("--tokens", arguments->tokens, "Of the text, at most")
      ->type_name("N")
      ->check(CLI::Range(512u, 1u << 24).description(""))
      ->capture_default_str();
}

}  // namespace corpgrid::cli
