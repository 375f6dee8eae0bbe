#include <memory>

#include "base/status_macros.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/progress_bar.h"
#include "cli/secret.h"
#include "fmt/format.h"
#include "scheduler/backup.h"

namespace corpgrid::cli {
namespace {

constexpr int64_t kQuietMs = 500;

struct BackupArguments {
  std::string file;
  std::string store;
};

using Work = absl::StatusOr<scheduler::BackupReport> (*)(const Common&, const BackupArguments&,
                                                         const scheduler::BackupProgress&);

absl::StatusOr<scheduler::BackupReport> BackUp(const Common& common,
                                               const BackupArguments& arguments,
                                               const scheduler::BackupProgress& progress) {
  ASSIGN_OR_RETURN(const std::string store, ReadSecret(arguments.store));
  return scheduler::Backup(common.data_folder, store, arguments.file, progress);
}

absl::StatusOr<scheduler::BackupReport> Restore(const Common& common,
                                                const BackupArguments& arguments,
                                                const scheduler::BackupProgress& progress) {
  ASSIGN_OR_RETURN(const std::string store, ReadSecret(arguments.store));
  return scheduler::Restore(arguments.file, common.data_folder, store, progress);
}

int Run(const Common& common, const BackupArguments& arguments, const std::string& title, Work work,
        const std::string& closing) {
  ProgressBar bar(title, Unit::kBytes, stderr, DetectStyle(stderr), kQuietMs);
  const auto report = work(common, arguments, [&](uint64_t done, uint64_t total) {
    bar.Update({.done = done, .total = total});
  });
  bar.Finish();
  if (!report.ok()) return Fail(common, report.status());
  if (common.json) {
    PrintJson(Json{{"grid_id", report->grid_id},
                   {"jobs", report->jobs},
                   {"chunks", report->chunks},
                   {"bytes", report->bytes}});
  } else {
    Print(fmt::format("grid {}, {} jobs, {}\n{}", report->grid_id, report->jobs,
                      FormatBytes(report->bytes), closing));
  }
  return kExitDone;
}

void TakeArguments(CLI::App* command, BackupArguments* arguments, const std::string& file,
                   const std::string& store) {
  command->add_option("file", arguments->file, file)->type_name("FILE")->required();
  command->add_option("--store", arguments->store, store)->type_name("URL");
}

}  // namespace

void AddBackupCommands(CommandTree& tree) {
  const auto arguments = std::make_shared<BackupArguments>();
  CLI::App* backup = AddCommand(
      tree, &tree.root, "backup", "Write a grid's state, objects and keys to one file",
      "  corpgrid backup grid.tar --data /srv/grid\n"
      "  corpgrid backup grid.tar --data /srv/grid --store @url.txt     stop the scheduler before\n"
      "The scheduler may run, unless its state is in PostgreSQL. Run it as the scheduler's user.",
      [&common = tree.common, arguments] {
        return Run(common, *arguments, "backing up", BackUp,
                   "The file holds the grid's keys: only you can read it; keep it so.\n");
      });
  TakeArguments(backup, arguments.get(), "The archive to write (tar), not there yet",
                "As the scheduler's --store, when its state is not in the data folder");
  CLI::App* restore = AddCommand(
      tree, &tree.root, "restore", "Make a grid's data folder from a backup",
      "  corpgrid restore grid.tar --data /srv/restored\n"
      "  corpgrid restore grid.tar --data /srv/restored --store postgres://grid@db.example/grid",
      [&common = tree.common, arguments] {
        return Run(
            common, *arguments, "restoring", Restore,
            "The grid is as it was at the backup: what was accepted since runs again. Never start\n"
            "the old grid as well. Devices keep their identities; start the scheduler at its old\n"
            "address. Whoever saw a newer audit log complains: docs/security.md says what to "
            "do.\n");
      });
  TakeArguments(restore, arguments.get(), "The archive",
                "An empty PostgreSQL database for the state (default: SQLite in the data folder)");
}

}  // namespace corpgrid::cli
