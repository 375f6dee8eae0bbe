#pragma once

#include <functional>
#include <memory>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/progress_bar.h"
#include "models/model_store.h"
#include "models/worker_tool.h"

namespace corpgrid::cli {

// What the commands about models share.

// The option --models.
void AddModelsOption(CLI::App* command, std::string* models);

// The store that --models names; without it the one in the data folder.
absl::StatusOr<std::unique_ptr<models::ModelStore>> OpenModels(const Common& common,
                                                               const std::string& models);

// corpgrid-worker, which stands beside this program.
models::WorkerProgram ModelWorker(const std::atomic<bool>* stop);

// The exit code of a command about models; fails with what `status` says. Without `asks_grid` no
// grid is part of it.
int ModelExit(const Common& common, const absl::Status& status, bool asks_grid = false);

Json ToJson(const models::StoredModel& model);

// A bar for each kind of work that is counted in bytes. One thread.
class ByteBars {
 public:
  void Show(std::string_view what, uint64_t done, uint64_t total);

 private:
  std::string what_;
  std::unique_ptr<ProgressBar> bar_;
};

// Takes a model from a device to which it was sent. Errors: NotFound, and the device's own.
absl::Status RemoveFromDevice(const Common& common, const std::string& model,
                              const std::string& device);

void AddModelAddCommand(CommandTree& tree, CLI::App* group);
void AddModelQuantizeCommands(CommandTree& tree, CLI::App* group);
void AddModelUploadCommand(CommandTree& tree, CLI::App* group);
void AddModelHostingCommands(CommandTree& tree, CLI::App* group);
void AddModelResourcesCommand(CommandTree& tree, CLI::App* group);

// "1.2 B", "254 M".
std::string FormatParameters(uint64_t parameters);

}  // namespace corpgrid::cli
