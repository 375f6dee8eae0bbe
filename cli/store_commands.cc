#include <memory>

#include "base/status_macros.h"
#include "cli/commands.h"
#include "cli/progress_bar.h"
#include "cli/secret.h"
#include "cli/table.h"
#include "fmt/format.h"
#include "store/copy.h"

namespace corpgrid::cli {
namespace {

constexpr int64_t kQuietMs = 500;

struct CopyArguments {
  std::string from;
  std::string to;
};

absl::Status CopyStore(const Common& common, const CopyArguments& arguments) {
  ASSIGN_OR_RETURN(const std::string from, ReadSecret(arguments.from));
  ASSIGN_OR_RETURN(const std::string to, ReadSecret(arguments.to));
  ProgressBar bar("copying and comparing", Unit::kRows, stderr, DetectStyle(stderr), kQuietMs);
  const absl::StatusOr<store::CopyReport> report = store::Copy(
      from, to, [&](uint64_t done, uint64_t total) { bar.Update({.done = done, .total = total}); });
  bar.Finish();
  RETURN_IF_ERROR(report.status());
  if (common.json) {
    Json tables = Json::array();
    for (const store::CopiedTable& table : report->tables) {
      tables.push_back({{"name", table.name}, {"rows", table.rows}});
    }
    PrintJson(Json{
        {"grid_id", report->grid_id}, {"tables", std::move(tables)}, {"digest", report->digest}});
    return absl::OkStatus();
  }
  Table table({{"TABLE"}, {"ROWS", true}});
  for (const store::CopiedTable& copied : report->tables) {
    table.AddRow({copied.name, std::to_string(copied.rows)});
  }
  Print(fmt::format("{}\nThe copy of grid {} has the same rows (digest {}).\n", table.ToText(),
                    report->grid_id, report->digest));
  return absl::OkStatus();
}

}  // namespace

void AddStoreCommands(CommandTree& tree) {
  const auto arguments = std::make_shared<CopyArguments>();
  CLI::App* stores = AddGroup(tree, "store", "Where a grid's state is kept");
  CLI::App* copy = AddCommand(
      tree, stores, "copy", "Copy a grid's state into an empty store, and compare the two",
      "  corpgrid store copy /var/lib/corpgrid/scheduler/state.db postgres://grid@db.example/grid\n"
      "  corpgrid store copy @url.txt state.db        back again; the URL is in a file\n"
      "Stop the scheduler before. Bundles and results are not in the store: they stay where they "
      "are.",
      [&common = tree.common, arguments]() -> int {
        const absl::Status status = CopyStore(common, *arguments);
        return status.ok() ? kExitDone : Fail(common, status);
      });
  copy->add_option("from", arguments->from, "A SQLite file, a PostgreSQL URL or @FILE with one")
      ->type_name("FROM")
      ->required();
  copy->add_option("to", arguments->to, "Likewise; an empty database, or a file not yet there")
      ->type_name("TO")
      ->required();
}

}  // namespace corpgrid::cli
