#include "base/status_macros.h"
#include "base/version.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/table.h"
#include "fmt/format.h"
#include "rpc/protocol.h"
#include "store/schema.h"

namespace corpgrid::cli {
namespace {

namespace v1 = corpgrid::v1;

std::string RangeText(uint32_t oldest, uint32_t newest) {
  return oldest == newest ? std::to_string(newest) : fmt::format("{} to {}", oldest, newest);
}

// What this program would say of itself as a scheduler.
v1::GridInfoResponse Own() {
  v1::GridInfoResponse own;
  own.set_version(kVersion);
  own.set_oldest_protocol(rpc::OurProtocol().oldest);
  own.set_newest_protocol(rpc::OurProtocol().newest);
  own.set_schema_version(store::SchemaVersion());
  return own;
}

Json VersionJson(const v1::GridInfoResponse& info) {
  return {{"version", info.version()},
          {"oldest_protocol", info.oldest_protocol()},
          {"newest_protocol", info.newest_protocol()},
          {"schema_version", info.schema_version()}};
}

absl::Status ShowVersions(const Common& common) {
  ASSIGN_OR_RETURN(const auto client, Client::Open(common.data_folder));
  ASSIGN_OR_RETURN(v1::GridInfoResponse scheduler, client->GridInfo());
  // One of protocol version 1 does not say so, nor what schema it has.
  if (scheduler.newest_protocol() == 0) {
    scheduler.set_oldest_protocol(1);
    scheduler.set_newest_protocol(1);
  }
  if (common.json) {
    PrintJson(Json{{"command_line", VersionJson(Own())}, {"scheduler", VersionJson(scheduler)}});
    return absl::OkStatus();
  }
  Table table({{"PROGRAM"}, {"VERSION"}, {"PROTOCOL"}, {"SCHEMA", true}});
  const auto add = [&](const char* name, const v1::GridInfoResponse& info) {
    const int64_t schema = info.schema_version();
    table.AddRow({name, info.version(), RangeText(info.oldest_protocol(), info.newest_protocol()),
                  schema == 0 ? "-" : std::to_string(schema)});
  };
  add("command line", Own());
  add("scheduler", scheduler);
  Print(table.ToText() + "`corpgrid device list` shows the devices' versions.\n");
  return absl::OkStatus();
}

}  // namespace

std::string VersionText() {
  return fmt::format("corpgrid {} (protocol {}, store schema {})", kVersion,
                     RangeText(rpc::OurProtocol().oldest, rpc::OurProtocol().newest),
                     store::SchemaVersion());
}

void AddVersionCommand(CommandTree& tree) {
  AddCommand(tree, &tree.root, "version", "The versions of this program and of the scheduler",
             "  corpgrid version\n"
             "  corpgrid --version            this program alone",
             [&common = tree.common]() -> int {
               const absl::Status status = ShowVersions(common);
               return status.ok() ? kExitDone : Fail(common, status);
             });
}

}  // namespace corpgrid::cli
