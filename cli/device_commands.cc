#include <algorithm>
#include <charconv>
#include <memory>

#include "absl/strings/escaping.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/table.h"
#include "fmt/format.h"

namespace corpgrid::cli {
namespace {

namespace v1 = corpgrid::v1;

// Results and leases that did not go as they should.
uint64_t Trouble(const v1::Device& device) {
  return device.results_disagreed() + device.results_refused() + device.leases_expired() +
         device.device_faults();
}

template <typename Texts>
std::string Joined(const Texts& texts) {
  return fmt::format("{}", fmt::join(texts, ", "));
}

// A scheduler of protocol version 1 says nothing of its devices' protocol.
std::string VersionOf(const v1::Device& device) {
  const std::string& version = device.info().version();
  if (device.protocol() == 0) return version;
  return fmt::format("{} (protocol {})", version, device.protocol());
}

absl::Status List(const Common& common) {
  ASSIGN_OR_RETURN(const auto client, Client::Open(common.data_folder));
  ASSIGN_OR_RETURN(const v1::ListDevicesResponse list, client->ListDevices());
  if (common.json) {
    PrintJson(ToJson(list));
    return absl::OkStatus();
  }
  Table table({{"ID", true},
               {"NAME"},
               {"OWNER"},
               {"TRUSTED"},
               {"SITE"},
               {"STATE"},
               {"CPUS", true},
               {"MEMORY", true},
               {"RUNNING", true},
               {"RESULTS", true},
               {"TROUBLE", true},
               {"VERSION"},
               {"LAST SEEN"}});
  for (const v1::Device& device : list.devices()) {
    const v1::DeviceInfo& info = device.info();
    table.AddRow({std::to_string(device.id()), info.name(), device.owner(),
                  device.trusted() ? "yes" : "-", info.site().empty() ? "-" : info.site(),
                  device.state(), std::to_string(info.cpus()), FormatBytes(info.memory_bytes()),
                  std::to_string(device.attempts_running()),
                  std::to_string(device.results_agreed()), std::to_string(Trouble(device)),
                  VersionOf(device), FormatAgo(device.last_seen_ms_ago())});
  }
  Print(table.empty()
            ? "no devices yet: `corpgrid token create` makes the token that one joins with\n"
            : table.ToText());
  return absl::OkStatus();
}

// A device by its id or its name.
absl::StatusOr<v1::Device> Find(Client& client, const std::string& wanted) {
  ASSIGN_OR_RETURN(const v1::ListDevicesResponse list, client.ListDevices());
  std::vector<std::string> names;
  const v1::Device* found = nullptr;
  for (const v1::Device& device : list.devices()) {
    if (std::to_string(device.id()) == wanted) return device;
    names.push_back(device.info().name());
    if (device.info().name() != wanted) continue;
    if (found != nullptr) {
      return absl::FailedPreconditionError(
          fmt::format("several devices are named {} ({} and {}): use the id", wanted, found->id(),
                      device.id()));
    }
    found = &device;
  }
  if (found != nullptr) return *found;
  const std::string nearest = Nearest(wanted, names);
  return absl::NotFoundError(
      fmt::format("there is no device {}{}", wanted,
                  nearest.empty() ? "" : fmt::format("; did you mean {}?", nearest)));
}

absl::Status Show(const Common& common, const std::string& wanted) {
  ASSIGN_OR_RETURN(const auto client, Client::Open(common.data_folder));
  ASSIGN_OR_RETURN(const v1::Device device, Find(*client, wanted));
  if (common.json) {
    PrintJson(ToJson(device));
    return absl::OkStatus();
  }
  const v1::DeviceInfo& info = device.info();
  Details details;
  details.Add("device", fmt::format("{} ({})", device.id(), info.name()));
  details.Add("owner", device.owner());
  if (!info.site().empty()) details.Add("site", info.site());
  if (info.labels_size() > 0) details.Add("labels", Joined(info.labels()));
  if (device.trusted()) details.Add("trusted", "by the operator: its results are right");
  details.Add("state",
              fmt::format("{}, {} running, seen {}", device.state(), device.attempts_running(),
                          FormatAgo(device.last_seen_ms_ago())));
  details.Add("cpus", std::to_string(info.cpus()));
  details.Add("memory", FormatBytes(info.memory_bytes()));
  if (info.vram_bytes() > 0) details.Add("vram", FormatBytes(info.vram_bytes()));
  details.Add("backends", Joined(info.backends()));
  if (!info.drivers().empty()) details.Add("drivers", info.drivers());
  details.Add("network", info.network_allowed() ? "for jobs that ask for it" : "for no job");
  const v1::Condition& condition = device.condition();
  if (condition.source() != v1::Condition::UNKNOWN) {
    details.Add("power", condition.source() == v1::Condition::MAINS ? "mains" : "battery");
  }
  if (condition.has_thermal_headroom()) {
    details.Add("heat", fmt::format("{:.0f} % of the way to its limit is left",
                                    100 * condition.thermal_headroom()));
  }
  if (!condition.closed().empty()) details.Add("closed", condition.closed());
  details.Add(
      "trust",
      fmt::format("{}: {:.0f} % of its work is right (95 % sure: at least {:.0f} %)",
                  device.trust(), 100 * device.reputation(), 100 * device.reputation_at_least()));
  details.Add("results",
              fmt::format("{} agreed ({} checked by trusted devices), {} wrong, {} refused",
                          device.results_agreed(), device.results_checked(),
                          device.results_disagreed(), device.results_refused()));
  details.Add("losses", fmt::format("{} leases ran out, {} faults of the device",
                                    device.leases_expired(), device.device_faults()));
  details.Add("version", VersionOf(device));
  if (!info.program().empty()) {
    details.Add("program", fmt::format("{} ({})", absl::BytesToHexString(info.program()),
                                       device.attestation()));
  }
  details.Add("key", device.public_key());
  Print(details.ToText());
  return absl::OkStatus();
}

absl::Status Why(const Common& common, const std::string& wanted) {
  ASSIGN_OR_RETURN(const auto client, Client::Open(common.data_folder));
  ASSIGN_OR_RETURN(const v1::Device device, Find(*client, wanted));
  ASSIGN_OR_RETURN(const v1::WhyResponse why, client->WhyDevice(device.id()));
  if (common.json) {
    PrintJson(ToJson(why));
    return absl::OkStatus();
  }
  for (const std::string& sentence : why.sentences()) Print(Printable(sentence) + "\n");
  return absl::OkStatus();
}

struct DrainOptions {
  bool now = false;
  bool undo = false;
};

absl::Status Drain(const Common& common, const std::string& wanted, const DrainOptions& options) {
  ASSIGN_OR_RETURN(const auto client, Client::Open(common.data_folder));
  ASSIGN_OR_RETURN(const v1::Device device, Find(*client, wanted));
  v1::DrainDeviceRequest request;
  request.set_device_id(device.id());
  request.set_now(options.now);
  request.set_undo(options.undo);
  ASSIGN_OR_RETURN(const v1::DrainDeviceResponse response, client->DrainDevice(request));
  if (common.json) {
    PrintJson(ToJson(response));
    return absl::OkStatus();
  }
  const std::string name = Printable(device.info().name());
  const uint32_t running = response.attempts_running();
  if (options.undo) {
    Print(fmt::format("device {} ({}) gets work again\n", device.id(), name));
  } else {
    Print(fmt::format("device {} ({}) gets no more work; it {}\n", device.id(), name,
                      running == 0  ? "has none"
                      : options.now ? fmt::format("gives {} shards back", running)
                                    : fmt::format("finishes {} shards", running)));
  }
  return absl::OkStatus();
}

absl::Status Trust(const Common& common, const std::string& wanted, bool undo) {
  ASSIGN_OR_RETURN(const auto client, Client::Open(common.data_folder));
  ASSIGN_OR_RETURN(const v1::Device device, Find(*client, wanted));
  v1::TrustDeviceRequest request;
  request.set_device_id(device.id());
  request.set_undo(undo);
  RETURN_IF_ERROR(client->TrustDevice(request));
  if (common.json) {
    PrintJson({{"device_id", device.id()}, {"trusted", !undo}});
    return absl::OkStatus();
  }
  Print(fmt::format("device {} ({}) {}\n", device.id(), Printable(device.info().name()),
                    undo ? "is trusted no more"
                         : "is trusted: its results count without anybody's agreement, and it "
                           "checks those of others"));
  return absl::OkStatus();
}

}  // namespace

void AddDeviceCommands(CommandTree& tree) {
  CLI::App* group = AddGroup(tree, "device", "The machines that compute");
  const auto code = [&common = tree.common](const absl::Status& status) -> int {
    return status.ok() ? kExitDone : Fail(common, status);
  };
  AddCommand(tree, group, "list", "All devices", "  corpgrid device list",
             [&common = tree.common, code] { return code(List(common)); });

  const auto wanted = std::make_shared<std::string>();
  CLI::App* show =
      AddCommand(tree, group, "show", "One device in detail",
                 "  corpgrid device show 2\n  corpgrid device show agent-1 --json",
                 [&common = tree.common, code, wanted] { return code(Show(common, *wanted)); });
  CLI::App* why = AddCommand(
      tree, group, "why", "Why a device has nothing to do", "  corpgrid device why agent-1",
      [&common = tree.common, code, wanted] { return code(Why(common, *wanted)); });
  const auto options = std::make_shared<DrainOptions>();
  CLI::App* drain =
      AddCommand(tree, group, "drain", "Give a device no more work, as before an update",
                 "  corpgrid device drain agent-1            it finishes what it has\n"
                 "  corpgrid device drain agent-1 --now      it saves and gives back what it has\n"
                 "  corpgrid device drain agent-1 --undo     it gets work again",
                 [&common = tree.common, code, wanted, options] {
                   return code(Drain(common, *wanted, *options));
                 });
  CLI::Option* now = drain->add_flag("--now", options->now, "What runs is given back");
  drain->add_flag("--undo", options->undo, "The device gets work again")->excludes(now);
  const auto undo = std::make_shared<bool>(false);
  CLI::App* trust = AddCommand(
      tree, group, "trust", "Take a device's results for right, and let it check others'",
      "  corpgrid device trust agent-1            as for a machine that only you can touch\n"
      "  corpgrid device trust agent-1 --undo     it counts like any other again",
      [&common = tree.common, code, wanted, undo] { return code(Trust(common, *wanted, *undo)); });
  trust->add_flag("--undo", *undo, "The device is trusted no more");
  for (CLI::App* command : {show, why, drain, trust}) {
    command->add_option("device", *wanted, "The device's id or name")
        ->type_name("DEVICE")
        ->required();
  }
}

}  // namespace corpgrid::cli
