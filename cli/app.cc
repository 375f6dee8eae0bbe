#include "cli/app.h"

#include <algorithm>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/completion.h"
#include "cli/data_folder.h"
#include "fmt/format.h"

namespace corpgrid::cli {
namespace {

constexpr char kRootExamples[] =
    "To begin:\n"
    "  corpgrid up                     a grid on this machine, until Ctrl-C\n"
    "  corpgrid job run job.yaml       in another terminal: run a job and fetch its results\n"
    "  corpgrid device list            who computes here\n"
    "\n"
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no grid reached.";

std::string FullName(const CLI::App& app) {
  const CLI::App* parent = app.get_parent();
  return parent == nullptr ? app.get_name() : FullName(*parent) + " " + app.get_name();
}

// CLI11's message without its habits.
std::string Reword(const CLI::ParseError& error) {
  constexpr std::string_view kUnreadable = "Could not convert: ";
  const std::string message = error.what();
  if (!message.starts_with(kUnreadable)) return message;
  return "cannot read the value: " + message.substr(kUnreadable.size());
}

// What is wrong with a command line that CLI11 refused, and what was probably meant.
std::string Explain(const CommandTree& tree, const std::vector<std::string>& words,
                    const CLI::ParseError& error) {
  const Place place = FindPlace(tree.root, words);
  const std::string name = FullName(*place.app);
  std::string what = Reword(error);
  std::string nearest;
  if (!place.unknown.empty() && place.unknown.front() == '-') {
    what = fmt::format("there is no option {}", place.unknown);
    nearest = Nearest(place.unknown, OptionNames(*place.app));
    if (nearest == place.unknown) {
      what = fmt::format("{} comes after the command", place.unknown);
      nearest.clear();
    }
  } else if (!place.unknown.empty() && !CommandNames(*place.app).empty()) {
    what = fmt::format("there is no command \"{}\"", place.unknown);
    nearest = Nearest(place.unknown, CommandNames(*place.app));
  } else if (!place.unknown.empty()) {
    what = fmt::format("\"{}\" is one word too many", place.unknown);
  }
  const std::string hint = nearest.empty() ? "" : fmt::format("; did you mean {}?", nearest);
  return fmt::format("{}: {}{}\nSee {} --help", name, what, hint, name);
}

}  // namespace

CLI::App* AddCommand(CommandTree& tree, CLI::App* parent, const std::string& name,
                     const std::string& description, const std::string& examples,
                     std::function<int()> action) {
  CLI::App* command = parent->add_subcommand(name, description);
  command->footer(examples.empty() ? "" : "Examples:\n" + examples);
  command
      ->add_option(
          "--data", tree.common.data_folder,
          "The grid's data folder (default: $CORPGRID_DATA, else " + DefaultDataFolder() + ")")
      ->type_name("DIR");
  command->add_flag("--json", tree.common.json, "One JSON document on stdout, for scripts");
  command->callback([&tree, action = std::move(action)] { tree.action = action; });
  return command;
}

CLI::App* AddGroup(CommandTree& tree, const std::string& name, const std::string& description) {
  CLI::App* group = tree.root.add_subcommand(name, description);
  group->footer("");
  group->callback([&tree, group] {
    if (!group->get_subcommands().empty()) return;
    tree.action = [group] {
      Say(group->help("corpgrid"));
      return kExitUsage;
    };
  });
  return group;
}

int Run(const std::vector<std::string>& arguments) {
  CommandTree tree;
  tree.root.name("corpgrid");
  tree.root.footer(kRootExamples);
  tree.root.get_formatter()->label("REQUIRED", "(required)");
  tree.root.set_version_flag("--version", VersionText());
  AddDaemonCommands(tree);
  AddJobCommands(tree);
  AddDeviceCommands(tree);
  AddProjectCommands(tree);
  AddModelCommands(tree);
  AddChatCommand(tree);
  AddTokenAndKeyCommands(tree);
  AddStoreCommands(tree);
  AddBackupCommands(tree);
  AddAuditCommands(tree);
  AddServeCommand(tree);
  AddGatewayCommand(tree);
  AddApiKeyCommands(tree);
  AddVersionCommand(tree);
  AddCompletionCommands(tree);

  const std::vector<std::string> words(arguments.begin() + 1, arguments.end());
  try {
    // CLI11 takes its words from the back.
    tree.root.parse(std::vector<std::string>(words.rbegin(), words.rend()));
  } catch (const CLI::Success& help) {
    return tree.root.exit(help);
  } catch (const CLI::ParseError& error) {
    tree.common.json = std::find(words.begin(), words.end(), "--json") != words.end();
    return Fail(tree.common, absl::InvalidArgumentError(Explain(tree, words, error)));
  }
  if (!tree.action) {
    Say(tree.root.help());
    return kExitUsage;
  }
  tree.common.data_given = !tree.common.data_folder.empty();
  tree.common.data_folder = tree.common.data_folder.empty()
                                ? DefaultDataFolder()
                                : AbsoluteFolder(tree.common.data_folder);
  return tree.action();
}

}  // namespace corpgrid::cli
