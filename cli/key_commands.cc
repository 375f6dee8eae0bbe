#include <fstream>
#include <memory>

#include "base/status_macros.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/data_folder.h"
#include "cli/keys.h"
#include "cli/submit.h"
#include "crypto/keyring.h"
#include "crypto/signature.h"
#include "fmt/format.h"

namespace corpgrid::cli {
namespace {

struct KeyArguments {
  std::string owner;
  uint32_t uses = 1;
  std::vector<std::string> keys;
};

absl::Status CreateToken(const Common& common, const KeyArguments& arguments) {
  ASSIGN_OR_RETURN(const auto client, Client::Open(common.data_folder));
  ASSIGN_OR_RETURN(const std::string token,
                   client->CreateJoinToken(arguments.owner, arguments.uses, NewIdempotencyKey()));
  ASSIGN_OR_RETURN(const crypto::KeyPair key,
                   crypto::KeyPair::LoadOrCreate(SubmitterKeyPath(common.data_folder)));
  if (common.json) {
    PrintJson(Json{{"token", token},
                   {"owner", arguments.owner},
                   {"uses", arguments.uses},
                   {"scheduler", client->address()},
                   {"submitter_key", key.public_key().ToText()}});
    return absl::OkStatus();
  }
  Print(token + "\n");
  Say(
      fmt::format("It is shown once; {} of {} may join with it:\n"
                  "  corpgrid agent --data FOLDER --scheduler {} --join TOKEN --trust {}",
                  arguments.uses == 1 ? "one device" : fmt::format("{} devices", arguments.uses),
                  arguments.owner, client->address(), key.public_key().ToText()));
  return absl::OkStatus();
}

absl::Status ShowKey(const Common& common) {
  ASSIGN_OR_RETURN(const crypto::KeyPair key,
                   crypto::KeyPair::LoadOrCreate(SubmitterKeyPath(common.data_folder)));
  const std::string text = key.public_key().ToText();
  if (common.json) {
    PrintJson(Json{{"submitter_key", text}});
  } else {
    Print(text + "\n");
  }
  return absl::OkStatus();
}

absl::Status TrustKeys(const Common& common, const KeyArguments& arguments) {
  RETURN_IF_ERROR(AddTrustedKeys(TrustedKeysPath(common.data_folder), arguments.keys));
  ASSIGN_OR_RETURN(const crypto::Keyring ring,
                   crypto::Keyring::Load(TrustedKeysPath(common.data_folder)));
  if (common.json) {
    Json keys = Json::array();
    for (const auto& entry : ring.entries()) keys.push_back(entry.key.ToText());
    PrintJson(Json{{"trusted", std::move(keys)}});
    return absl::OkStatus();
  }
  Print(fmt::format("{} trusts {} key{}\n", TrustedKeysPath(common.data_folder),
                    ring.entries().size(), ring.entries().size() == 1 ? "" : "s"));
  return absl::OkStatus();
}

}  // namespace

void AddTokenAndKeyCommands(CommandTree& tree) {
  const auto arguments = std::make_shared<KeyArguments>();
  const auto code = [&common = tree.common](const absl::Status& status) -> int {
    return status.ok() ? kExitDone : Fail(common, status);
  };
  CLI::App* tokens = AddGroup(tree, "token", "Tokens that devices join with");
  CLI::App* create = AddCommand(
      tree, tokens, "create", "Make a token with which an owner's devices may join",
      "  corpgrid token create --owner lab-3\n"
      "  corpgrid token create --owner lab-3 --uses 40",
      [&common = tree.common, code, arguments] { return code(CreateToken(common, *arguments)); });
  create->add_option("--owner", arguments->owner, "Who answers for the devices")
      ->type_name("NAME")
      ->required();
  create->add_option("--uses", arguments->uses, "How many devices may join with it")
      ->capture_default_str()
      ->type_name("N")
      ->check(CLI::Range(1u, 100'000u).description(""));

  CLI::App* keys = AddGroup(tree, "key", "Keys that sign jobs");
  AddCommand(tree, keys, "show", "The public key that your jobs are signed with",
             "  corpgrid key show",
             [&common = tree.common, code] { return code(ShowKey(common)); });
  CLI::App* trust = AddCommand(
      tree, keys, "trust", "Let an agent run the jobs that a key signed",
      "  corpgrid key trust cgp1.5f0c… --data AGENT_FOLDER\n"
      "  corpgrid key trust alice.pub bob.pub --data AGENT_FOLDER",
      [&common = tree.common, code, arguments] { return code(TrustKeys(common, *arguments)); });
  trust->get_option("--data")->description("The agent's own data folder")->required();
  trust->add_option("keys", arguments->keys, "Keys, or files that hold one a line")
      ->type_name("FILE")
      ->required();
}

}  // namespace corpgrid::cli
