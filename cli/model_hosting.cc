#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <thread>

#include "base/clock.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/models.h"
#include "cli/table.h"
#include "cli/work_bar.h"
#include "corpgrid/v1/hosting.pb.h"
#include "crypto/hex.h"
#include "fmt/format.h"

namespace corpgrid::cli {
namespace {

namespace v1 = corpgrid::v1;

constexpr auto kLook = std::chrono::milliseconds(250);

struct LoadArguments {
  std::string name;
  std::string digest;
  std::string idle_unload;
  std::string type;
  uint32_t replicas = 1;
  uint32_t sequences = 0;
  uint32_t context = 0;
  std::string memory;
  bool shared_memory = false;
  bool no_wait = false;
};

std::string_view StateWord(v1::HostedModel::State state) {
  switch (state) {
    case v1::HostedModel::ASSIGNED:
      return "assigned";
    case v1::HostedModel::LOADING:
      return "loading";
    case v1::HostedModel::READY:
      return "ready";
    default:
      return "failed";
  }
}

// "ready", "quantising, 42 %".
std::string Doing(const v1::HostedModel& hosted) {
  if (!hosted.has_quantised()) return std::string(StateWord(hosted.state()));
  return fmt::format("quantising, {:.0f} %", hosted.quantised() * 100);
}

// "tiny", "tiny as Q4_0".
std::string NameOf(const v1::LoadedModel& model) {
  const std::string& type = model.settings().type();
  return type.empty() ? model.name() : fmt::format("{} as {}", model.name(), type);
}

// "laptop", "server Vulkan0".
std::string PlaceOf(const v1::Replica& replica) {
  const std::string& gpu = replica.hosted().gpu();
  return replica.device_name() + (gpu.empty() ? "" : " " + Printable(gpu));
}

Json LastFailure(const v1::LoadedModel& model) {
  if (!model.has_last_failure()) return nullptr;
  const auto& failure = model.last_failure();
  return {
      {"device", failure.device_name()}, {"error", failure.error()}, {"ago_ms", failure.ago_ms()}};
}

Json ToJson(const v1::LoadedModel& model) {
  Json replicas = Json::array();
  for (const v1::Replica& replica : model.replicas()) {
    const v1::HostedModel& hosted = replica.hosted();
    replicas.push_back({{"device_id", replica.device_id()},
                        {"device", replica.device_name()},
                        {"state", StateWord(hosted.state())},
                        {"quantised", hosted.has_quantised() ? Json(hosted.quantised()) : Json()},
                        {"gpu", hosted.gpu()},
                        {"gpu_bytes", hosted.gpu_bytes()},
                        {"needs_bytes", hosted.needs_bytes()},
                        {"resident_bytes", hosted.resident_bytes()},
                        {"running", hosted.running()},
                        {"waiting", hosted.waiting()},
                        {"idle_ms", hosted.idle_ms()}});
  }
  const v1::HostedSettings& settings = model.settings();
  return {{"name", model.name()},
          {"sha256", crypto::ToHex(model.digest())},
          {"replicas_wanted", settings.replicas()},
          {"sequences", settings.sequences()},
          {"context", settings.context()},
          {"shared_memory", settings.shared_memory()},
          {"memory_limit_bytes", settings.memory_bytes()},
          {"type", settings.type()},
          {"idle_unload_ms", settings.idle_unload_ms()},
          {"asleep", model.asleep()},
          {"why", model.why()},
          {"last_failure", LastFailure(model)},
          {"replicas", std::move(replicas)}};
}

bool AllReady(const v1::LoadedModel& model) {
  return !model.asleep() &&
         std::all_of(model.replicas().begin(), model.replicas().end(), [](const auto& replica) {
           return replica.hosted().state() == v1::HostedModel::READY;
         });
}

absl::Status Show(const Common& common) {
  ASSIGN_OR_RETURN(const auto client, Client::Open(common.data_folder));
  ASSIGN_OR_RETURN(const v1::ListModelsResponse list, client->ListModels());
  if (common.json) {
    Json models = Json::array();
    for (const v1::LoadedModel& model : list.models()) models.push_back(ToJson(model));
    PrintJson(Json{{"models", std::move(models)}});
    return absl::OkStatus();
  }
  Table table({{"MODEL"},
               {"STATE"},
               {"DEVICE"},
               {"MEMORY", true},
               {"ESTIMATE", true},
               {"RUNNING", true},
               {"WAITING", true},
               {"IDLE FOR"}});
  for (const v1::LoadedModel& model : list.models()) {
    for (const v1::Replica& replica : model.replicas()) {
      const v1::HostedModel& hosted = replica.hosted();
      const bool ready = hosted.state() == v1::HostedModel::READY;
      table.AddRow(
          {NameOf(model), Doing(hosted), PlaceOf(replica),
           ready ? FormatBytes(hosted.resident_bytes() + hosted.gpu_bytes()) : "",
           hosted.needs_bytes() > 0 ? FormatBytes(hosted.needs_bytes() + hosted.gpu_bytes()) : "",
           std::to_string(hosted.running()), std::to_string(hosted.waiting()),
           ready ? FormatDuration(static_cast<int64_t>(hosted.idle_ms())) : ""});
    }
    if (model.replicas().empty()) {
      table.AddRow({NameOf(model), model.asleep() ? "asleep" : "waiting", "", "", "", "", "", ""});
    }
  }
  if (table.empty()) {
    Say("no models are loaded; load one: corpgrid model load NAME");
    return absl::OkStatus();
  }
  Print(table.ToText());
  for (const v1::LoadedModel& model : list.models()) {
    if (!model.why().empty()) {
      Say(fmt::format("{} has {} of {} replicas: {}", model.name(), model.replicas_size(),
                      model.settings().replicas(), Printable(model.why())));
    } else if (model.has_last_failure()) {
      const auto& failure = model.last_failure();
      Say(fmt::format("{} failed on {} {} ago{}: {}", model.name(),
                      Printable(failure.device_name()),
                      FormatDuration(static_cast<int64_t>(failure.ago_ms())),
                      AllReady(model) ? ", and is back" : "", Printable(failure.error())));
    }
  }
  return absl::OkStatus();
}

bool IsReady(const v1::LoadedModel& model) {
  return std::any_of(model.replicas().begin(), model.replicas().end(), [](const auto& replica) {
    return replica.hosted().state() == v1::HostedModel::READY;
  });
}

// Of the replica that is farthest, while one is made.
std::optional<double> Quantised(const v1::LoadedModel& model) {
  std::optional<double> most;
  for (const v1::Replica& replica : model.replicas()) {
    if (!replica.hosted().has_quantised()) continue;
    most = std::max(most.value_or(0), replica.hosted().quantised());
  }
  return most;
}

// Until a replica can be asked. Errors: FailedPrecondition with why when it has no place left.
absl::StatusOr<v1::LoadedModel> WaitUntilReady(Client* client, const std::string& name) {
  const InterruptFlag interrupt;
  WorkBar bar;
  while (!interrupt.raised()) {
    ASSIGN_OR_RETURN(const v1::ListModelsResponse list, client->ListModels());
    const auto model = std::find_if(list.models().begin(), list.models().end(),
                                    [&](const auto& one) { return one.name() == name; });
    if (model == list.models().end()) {
      return absl::FailedPreconditionError(fmt::format("model {} was unloaded meanwhile", name));
    }
    if (IsReady(*model)) return *model;
    if (const auto quantised = Quantised(*model)) {
      bar.Show("quantising", *quantised);
    } else {
      bar.Finish();
    }
    if (model->replicas().empty() && !model->why().empty()) {
      return absl::FailedPreconditionError(
          fmt::format("model {} cannot be loaded now: {}; it stays ordered, until corpgrid model "
                      "unload {}",
                      name, model->why(), name));
    }
    std::this_thread::sleep_for(kLook);
  }
  return absl::CancelledError(
      fmt::format("model {} is still being loaded; corpgrid model ps shows it", name));
}

// The option that an older scheduler does not know; empty when it took all of them.
std::string_view Ignored(const LoadArguments& asked, const v1::HostedSettings& hosted) {
  if (!asked.type.empty() && hosted.type().empty()) return "--type";
  if (asked.shared_memory && !hosted.shared_memory()) return "--shared-memory";
  if (!asked.memory.empty() && hosted.memory_bytes() == 0) return "--memory";
  return "";
}

absl::Status Load(const Common& common, const LoadArguments& arguments) {
  v1::LoadModelRequest request;
  request.set_name(arguments.name);
  if (!arguments.digest.empty()) {
    std::array<uint8_t, 32> digest{};
    if (!crypto::ParseHex(arguments.digest, digest)) {
      return absl::InvalidArgumentError(
          fmt::format("--sha256: expected 64 hexadecimal digits, got \"{}\"", arguments.digest));
    }
    request.set_digest(digest.data(), digest.size());
  }
  v1::HostedSettings* settings = request.mutable_settings();
  settings->set_replicas(arguments.replicas);
  settings->set_sequences(arguments.sequences);
  settings->set_context(arguments.context);
  settings->set_shared_memory(arguments.shared_memory);
  settings->set_type(arguments.type);
  if (!arguments.memory.empty()) {
    ASSIGN_OR_RETURN(const uint64_t bytes, ParseBytes(arguments.memory));
    if (bytes == 0) return absl::InvalidArgumentError("--memory: expected more than 0");
    settings->set_memory_bytes(bytes);
  }
  if (!arguments.idle_unload.empty()) {
    ASSIGN_OR_RETURN(const int64_t idle_ms, ParseDurationMs(arguments.idle_unload));
    settings->set_idle_unload_ms(static_cast<uint64_t>(idle_ms));
  }
  ASSIGN_OR_RETURN(const auto client, Client::Open(common.data_folder));
  RETURN_IF_ERROR(client->LoadModel(request));
  v1::LoadedModel model;
  if (!arguments.no_wait) {
    if (!common.json) Say(fmt::format("loading {}", arguments.name));
    ASSIGN_OR_RETURN(model, WaitUntilReady(client.get(), arguments.name));
    if (const std::string_view option = Ignored(arguments, model.settings()); !option.empty()) {
      return absl::UnimplementedError(fmt::format(
          "the scheduler is too old for {}: {} is loaded without it", option, arguments.name));
    }
  }
  if (common.json) {
    PrintJson(arguments.no_wait ? Json{{"name", arguments.name}} : ToJson(model));
  } else if (!arguments.no_wait) {
    Say(fmt::format("{} is ready on {}", arguments.name, PlaceOf(model.replicas(0))));
  }
  return absl::OkStatus();
}

absl::Status Unload(const Common& common, const std::string& name) {
  ASSIGN_OR_RETURN(const auto client, Client::Open(common.data_folder));
  RETURN_IF_ERROR(client->UnloadModel(name));
  if (common.json) {
    PrintJson(Json{{"unloaded", name}});
  } else {
    Say(fmt::format("unloaded {}", name));
  }
  return absl::OkStatus();
}

int Exit(const Common& common, const absl::Status& status) {
  return ModelExit(common, status, /*asks_grid=*/true);
}

}  // namespace

void AddModelHostingCommands(CommandTree& tree, CLI::App* group) {
  const auto arguments = std::make_shared<LoadArguments>();
  CLI::App* load = AddCommand(
      tree, group, "load", "Host a model on the grid, or change how it is hosted",
      "  corpgrid model load llama-3-8b\n"
      "  corpgrid model load llama-3-8b --replicas 2 --context 8192 --idle-unload 30m\n"
      "  corpgrid model load llama-3-8b --type Q4_K_M\n"
      "A device that has its files (corpgrid model list, there) and room for it loads it.",
      [&common = tree.common, arguments] { return Exit(common, Load(common, *arguments)); });
  load->add_option("name", arguments->name, "The model")->type_name("MODEL")->required();
  load->add_option("--replicas", arguments->replicas, "On so many devices")
      ->type_name("N")
      ->capture_default_str();
  load->add_option("--context", arguments->context,
                   "Tokens that each sequence may have (default: 4096, or as many as it was "
                   "trained for)")
      ->type_name("TOKENS");
  load->add_option("--sequences", arguments->sequences,
                   "Answers that each replica computes at once (default: 16)")
      ->type_name("N");
  load->add_flag("--shared-memory", arguments->shared_memory,
                 "The context is that of all sequences together: a few long ones or many short "
                 "ones; where it runs out, the youngest waits");
  load->add_option("--memory", arguments->memory,
                   "The most of its device's memory that a replica may have, as 6GiB; what a GPU "
                   "has does not count (default: what its owner lends)")
      ->type_name("SIZE");
  load->add_option("--type", arguments->type,
                   "Of its weights, as Q4_K_M: each device makes them so before it loads it, for "
                   "minutes, once (default: as they are)")
      ->type_name("TYPE");
  load->add_option("--idle-unload", arguments->idle_unload,
                   "Unload it when nobody asked for so long, as 30m; the next request loads it")
      ->type_name("TIME");
  load->add_option("--sha256", arguments->digest,
                   "Which model, where devices have different ones of this name")
      ->type_name("HEX");
  load->add_flag("--no-wait", arguments->no_wait, "Do not wait until it can be asked");
  CLI::App* unload = AddCommand(
      tree, group, "unload", "Host a model no longer; its memory is free soon after",
      "  corpgrid model unload llama-3-8b",
      [&common = tree.common, arguments] { return Exit(common, Unload(common, arguments->name)); });
  unload->add_option("name", arguments->name, "The model")->type_name("MODEL")->required();
  AddCommand(tree, group, "ps", "Which models are hosted, where, and how busy they are",
             "  corpgrid model ps\n"
             "  corpgrid model ps --json | jq '.models[] | {name, asleep}'",
             [&common = tree.common] { return Exit(common, Show(common)); });
}

}  // namespace corpgrid::cli
