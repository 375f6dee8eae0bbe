#pragma once

#include <functional>
#include <string>

#include "CLI/CLI.hpp"
#include "cli/output.h"

namespace corpgrid::cli {

// The tree of commands while it is built and, after parsing, what was asked for.
struct CommandTree {
  CLI::App root{"Turns the machines a company already owns into one trusted compute grid."};
  Common common;
  std::function<int()> action;  // of the command that was given; returns the exit code
};

// A command that does something: it takes --data and --json, shows `examples` below its --help and
// sets `action` when it was given.
CLI::App* AddCommand(CommandTree& tree, CLI::App* parent, const std::string& name,
                     const std::string& description, const std::string& examples,
                     std::function<int()> action);

// A command that only groups others; by itself it shows its help.
CLI::App* AddGroup(CommandTree& tree, const std::string& name, const std::string& description);

void AddJobCommands(CommandTree& tree);
void AddDeviceCommands(CommandTree& tree);
void AddProjectCommands(CommandTree& tree);
void AddModelCommands(CommandTree& tree);
void AddChatCommand(CommandTree& tree);
void AddTokenAndKeyCommands(CommandTree& tree);
void AddDaemonCommands(CommandTree& tree);
void AddStoreCommands(CommandTree& tree);
void AddBackupCommands(CommandTree& tree);
void AddAuditCommands(CommandTree& tree);
void AddCompletionCommands(CommandTree& tree);
void AddServeCommand(CommandTree& tree);
void AddGatewayCommand(CommandTree& tree);
void AddApiKeyCommands(CommandTree& tree);
void AddVersionCommand(CommandTree& tree);

// What --version says.
std::string VersionText();

}  // namespace corpgrid::cli
