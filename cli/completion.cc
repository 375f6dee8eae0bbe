#include "cli/completion.h"

#include <algorithm>
#include <filesystem>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/data_folder.h"
#include "cli/models.h"
#include "fmt/format.h"

namespace corpgrid::cli {
namespace {

constexpr uint32_t kJobsOffered = 50;
constexpr char kFiles[] = "<files>";
constexpr char kFolders[] = "<folders>";

// The scripts hand over the words up to the cursor; the program, which alone knows its commands,
// jobs and devices, answers with one candidate a line.
constexpr char kBash[] = R"(_corpgrid() {
  local word candidates
  COMPREPLY=()
  # Words, not bash's idea of them: it splits at ':' and '='.
  local line="${COMP_LINE:0:COMP_POINT}" words
  read -ra words <<< "$line"
  [[ "$line" == *[[:space:]] ]] && words+=("")
  mapfile -t candidates < <("$1" __complete -- "${words[@]:1}" 2>/dev/null)
  word="${COMP_WORDS[COMP_CWORD]}"
  case "${candidates[0]}" in
    "<files>") compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
    "<folders>") compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$word") ;;
    *) COMPREPLY=("${candidates[@]}") ;;
  esac
}
complete -F _corpgrid corpgrid
)";

constexpr char kZsh[] = R"(#compdef corpgrid
_corpgrid() {
  local -a candidates
  candidates=("${(@f)$("$words[1]" __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  case "$candidates[1]" in
    "<files>") _files ;;
    "<folders>") _files -/ ;;
    "") ;;
    *) compadd -a candidates ;;
  esac
}
if [ "$funcstack[1]" = "_corpgrid" ]; then _corpgrid "$@"; else compdef _corpgrid corpgrid; fi
)";

constexpr char kFish[] = R"(function __corpgrid_complete
  set -l words (commandline -opc) (commandline -ct)
  set -l candidates ($words[1] __complete -- $words[2..-1] 2>/dev/null)
  switch "$candidates[1]"
    case "<files>"
      __fish_complete_path (commandline -ct)
    case "<folders>"
      __fish_complete_directories (commandline -ct)
    case "*"
      printf '%s\n' $candidates
  end
end
complete -c corpgrid -f -a '(__corpgrid_complete)'
)";

bool TakesValue(const CLI::Option& option) { return option.get_items_expected_max() > 0; }

const CLI::Option* PositionalAt(const CLI::App& app, size_t index) {
  size_t seen = 0;
  for (const CLI::Option* option : app.get_options()) {
    if (!option->get_positional()) continue;
    const bool takes_the_rest = option->get_items_expected_max() > 1;
    if (seen == index || takes_the_rest) return option;
    ++seen;
  }
  return nullptr;
}

void TakeWord(const std::string& word, Place& place) {
  if (place.pending != nullptr) {
    place.pending = nullptr;
    return;
  }
  if (word.size() > 1 && word.front() == '-') {
    const size_t equals = word.find('=');
    const CLI::Option* option = place.app->get_option_no_throw(word.substr(0, equals));
    if (option == nullptr && place.unknown.empty()) place.unknown = word.substr(0, equals);
    if (option != nullptr && TakesValue(*option) && equals == std::string::npos) {
      place.pending = option;
    }
    return;
  }
  const std::vector<std::string> commands = CommandNames(*place.app);
  if (std::find(commands.begin(), commands.end(), word) != commands.end()) {
    place.app = place.app->get_subcommand(word);
    place.positionals = 0;
    return;
  }
  if (PositionalAt(*place.app, place.positionals++) == nullptr && place.unknown.empty()) {
    place.unknown = word;
  }
}

std::vector<std::string> ValuesFor(const CLI::Option& option, const ValuesOf& values_of) {
  const std::string kind = option.get_type_name();
  if (kind == "FILE") return {kFiles};
  if (kind == "DIR") return {kFolders};
  if (kind == "SHELL") return {"bash", "zsh", "fish"};
  if (kind == "JOB" || kind == "DEVICE" || kind == "PROJECT" || kind == "MODEL") {
    return values_of(kind);
  }
  return {};
}

std::vector<std::string> NamesOfModels(const Common& common) {
  std::vector<std::string> names;
  if (!std::filesystem::exists(common.data_folder + "/models")) return names;  // makes none
  const auto store = OpenModels(common, "");
  if (!store.ok()) return names;
  const absl::StatusOr<models::Listing> listing = (*store)->List();
  if (!listing.ok()) return names;
  for (const models::StoredModel& model : listing->models) names.push_back(model.name);
  for (const models::Unfinished& one : listing->unfinished) names.push_back(one.name);
  return names;
}

std::vector<std::string> ValuesFromGrid(const Common& common, const std::string& kind) {
  std::vector<std::string> values;
  if (kind == "MODEL") return NamesOfModels(common);
  const auto client = Client::Open(common.data_folder);
  if (!client.ok()) return values;
  if (kind == "JOB") {
    const auto jobs = (*client)->ListJobs(0, kJobsOffered);
    if (!jobs.ok()) return values;
    for (const auto& job : jobs->jobs()) values.push_back(std::to_string(job.id()));
    return values;
  }
  if (kind == "PROJECT") {
    const auto projects = (*client)->ListProjects();
    if (!projects.ok()) return values;
    for (const auto& project : projects->projects()) values.push_back(project.name());
    return values;
  }
  const auto devices = (*client)->ListDevices();
  if (!devices.ok()) return values;
  for (const auto& device : devices->devices()) values.push_back(device.info().name());
  return values;
}

// The data folder that the words so far name, if any.
std::string DataFolderIn(const std::vector<std::string>& words) {
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--data" && i + 1 < words.size()) return AbsoluteFolder(words[i + 1]);
    if (words[i].starts_with("--data=")) return AbsoluteFolder(words[i].substr(7));
  }
  return DefaultDataFolder();
}

}  // namespace

std::vector<std::string> CommandNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (!command->get_group().empty()) names.push_back(command->get_name());
  }
  return names;
}

std::vector<std::string> OptionNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_group().empty()) continue;
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

Place FindPlace(const CLI::App& root, const std::vector<std::string>& words) {
  Place place{.app = &root, .pending = nullptr, .positionals = 0, .unknown = {}};
  for (const std::string& word : words) TakeWord(word, place);
  return place;
}

std::vector<std::string> Complete(const CLI::App& root, const std::vector<std::string>& words,
                                  const ValuesOf& values_of) {
  const std::string prefix = words.empty() ? "" : words.back();
  const std::vector<std::string> before(words.begin(), words.end() - (words.empty() ? 0 : 1));
  const Place place = FindPlace(root, before);
  std::vector<std::string> candidates;
  if (place.pending != nullptr) {
    candidates = ValuesFor(*place.pending, values_of);
  } else if (prefix.starts_with("-")) {
    candidates = OptionNames(*place.app);
  } else if (candidates = CommandNames(*place.app); candidates.empty()) {
    const CLI::Option* positional = PositionalAt(*place.app, place.positionals);
    candidates =
        positional == nullptr ? OptionNames(*place.app) : ValuesFor(*positional, values_of);
  }
  std::erase_if(candidates, [&](const std::string& candidate) {
    return candidate != kFiles && candidate != kFolders && !candidate.starts_with(prefix);
  });
  std::sort(candidates.begin(), candidates.end());
  return candidates;
}

void AddCompletionCommands(CommandTree& tree) {
  const auto shell = std::make_shared<std::string>();
  CLI::App* command = AddCommand(
      tree, &tree.root, "completion", "Print a script that completes commands in your shell",
      "  source <(corpgrid completion bash)        # in ~/.bashrc\n"
      "  source <(corpgrid completion zsh)         # in ~/.zshrc\n"
      "  corpgrid completion fish > ~/.config/fish/completions/corpgrid.fish",
      [shell] {
        Print(*shell == "bash" ? kBash : *shell == "zsh" ? kZsh : kFish);
        return kExitDone;
      });
  command->add_option("shell", *shell, "bash, zsh or fish")
      ->type_name("SHELL")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));

  const auto words = std::make_shared<std::vector<std::string>>();
  CLI::App* hidden = AddCommand(
      tree, &tree.root, "__complete", "Candidates for the last word", "", [&tree, words] {
        tree.common.data_folder = DataFolderIn(*words);
        for (const std::string& candidate :
             Complete(tree.root, *words,
                      [&](const std::string& kind) { return ValuesFromGrid(tree.common, kind); })) {
          Print(candidate + "\n");
        }
        return kExitDone;
      });
  hidden->group("");
  hidden->add_option("words", *words);
}

}  // namespace corpgrid::cli
