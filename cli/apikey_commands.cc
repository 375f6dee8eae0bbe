#include <algorithm>
#include <memory>

#include "base/clock.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/data_folder.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "gateway/api_keys.h"

namespace corpgrid::cli {
namespace {

struct ApiKeyArguments {
  std::string file;
  gateway::ApiKey key;
  std::string expires = "never";
};

// The keys of the file; none when it is not there yet. Held while they are changed.
absl::StatusOr<std::vector<gateway::ApiKey>> ReadOrNone(const std::string& file) {
  absl::StatusOr<std::vector<gateway::ApiKey>> keys = gateway::KeyFile::Read(file);
  if (absl::IsNotFound(keys.status())) return std::vector<gateway::ApiKey>();
  return keys;
}

// Reads `expires` into the key. In whole seconds, which its file has: less would be over at once.
absl::Status SetEnd(ApiKeyArguments* arguments) {
  if (arguments->expires == "never") return absl::OkStatus();
  ASSIGN_OR_RETURN(const int64_t ms, ParseDurationMs(arguments->expires));
  if (ms < 1000) {
    return absl::InvalidArgumentError(fmt::format(
        "--expires is \"{}\"; a key is for 1s at least, or for ever: never", arguments->expires));
  }
  arguments->key.expires_s = (SystemClock().WallMs() + ms + 999) / 1000;
  return absl::OkStatus();
}

absl::Status CreateKey(const Common& common, ApiKeyArguments arguments) {
  if (arguments.key.name.empty()) {
    return absl::InvalidArgumentError("the key's name is empty; say whose key it is");
  }
  RETURN_IF_ERROR(SetEnd(&arguments));
  ASSIGN_OR_RETURN(const FileLock lock, FileLock::Take(arguments.file + ".lock"));
  ASSIGN_OR_RETURN(std::vector<gateway::ApiKey> keys, ReadOrNone(arguments.file));
  for (const gateway::ApiKey& key : keys) {
    if (key.name != arguments.key.name) continue;
    return absl::AlreadyExistsError(
        fmt::format("{} has a key of the name \"{}\"; remove it first, or take another name",
                    arguments.file, key.name));
  }
  const std::string secret = gateway::NewApiKey();
  arguments.key.hash = gateway::HashOfApiKey(secret);
  keys.push_back(arguments.key);
  RETURN_IF_ERROR(gateway::KeyFile::Write(arguments.file, keys));
  if (common.json) {
    PrintJson(Json{{"name", arguments.key.name}, {"api_key", secret}});
  } else {
    Print(secret + "\n");
    Say("It is shown once; the file has only its hash.");
  }
  return absl::OkStatus();
}

absl::Status RemoveKey(const Common&, const ApiKeyArguments& arguments) {
  ASSIGN_OR_RETURN(const FileLock lock, FileLock::Take(arguments.file + ".lock"));
  ASSIGN_OR_RETURN(std::vector<gateway::ApiKey> keys, gateway::KeyFile::Read(arguments.file));
  const auto is_it = [&](const gateway::ApiKey& key) { return key.name == arguments.key.name; };
  if (std::erase_if(keys, is_it) == 0) {
    return absl::NotFoundError(
        fmt::format("{} has no key of the name \"{}\"", arguments.file, arguments.key.name));
  }
  return gateway::KeyFile::Write(arguments.file, keys);
}

absl::Status ListKeys(const Common& common, const ApiKeyArguments& arguments) {
  ASSIGN_OR_RETURN(const std::vector<gateway::ApiKey> keys, gateway::KeyFile::Read(arguments.file));
  Json list = Json::array();
  for (const gateway::ApiKey& key : keys) {
    list.push_back(Json{{"name", key.name},
                        {"models", key.models},
                        {"expires", key.expires_s},
                        {"max_concurrent", key.max_concurrent},
                        {"tokens_per_minute", key.tokens_per_minute}});
    if (common.json) continue;
    Print(fmt::format(
        "{}: {}, {}, {}, {}\n", key.name,
        key.models.empty() ? "all models" : fmt::format("{}", fmt::join(key.models, " ")),
        key.expires_s == 0
            ? "for ever"
            : fmt::format("{} left", FormatDuration(std::max<int64_t>(
                                         0, key.expires_s * 1000 - SystemClock().WallMs()))),
        key.max_concurrent == 0 ? "as many requests as come"
                                : fmt::format("{} requests at once", key.max_concurrent),
        key.tokens_per_minute == 0 ? "as many tokens as it likes"
                                   : fmt::format("{} tokens a minute", key.tokens_per_minute)));
  }
  if (common.json) PrintJson(Json{{"keys", std::move(list)}});
  return absl::OkStatus();
}

}  // namespace

void AddApiKeyCommands(CommandTree& tree) {
  const auto arguments = std::make_shared<ApiKeyArguments>();
  const auto action = [&common = tree.common, arguments](auto what) {
    return [&common, arguments, what]() -> int {
      if (arguments->file.empty()) arguments->file = ApiKeysPath(common.data_folder);
      const absl::Status status = what(common, *arguments);
      return status.ok() ? kExitDone : Fail(common, status);
    };
  };
  CLI::App* keys = AddGroup(tree, "apikey", "Keys of the OpenAI API");
  CLI::App* create = AddCommand(
      tree, keys, "create", "Make a key for somebody and show it once",
      "  corpgrid apikey create alice\n"
      "  corpgrid apikey create ci --file keys.json --model small --expires 30d --concurrent 4",
      action(CreateKey));
  CLI::App* list = AddCommand(tree, keys, "list", "Who has a key, and what it allows",
                              "  corpgrid apikey list\n"
                              "  corpgrid apikey list --file keys.json",
                              action(ListKeys));
  CLI::App* remove =
      AddCommand(tree, keys, "remove", "Take a key back; a server hears of it at once",
                 "  corpgrid apikey remove alice", action(RemoveKey));
  for (CLI::App* command : {create, list, remove}) {
    command
        ->add_option("--file", arguments->file,
                     "The file of the keys (default: that of corpgrid up, in the data folder)")
        ->type_name("FILE");
  }
  for (CLI::App* command : {create, remove}) {
    command->add_option("name", arguments->key.name, "Whose key it is")
        ->type_name("NAME")
        ->required();
  }
  create->add_option("--model", arguments->key.models, "That it is for (default: all)")
      ->type_name("NAME");
  create->add_option("--expires", arguments->expires, "After how long it ends (default: never)")
      ->type_name("DURATION");
  create->add_option("--concurrent", arguments->key.max_concurrent, "Requests at once")
      ->type_name("N");
  create
      ->add_option("--tokens-per-minute", arguments->key.tokens_per_minute,
                   "Of prompts and answers")
      ->type_name("N");
}

}  // namespace corpgrid::cli
