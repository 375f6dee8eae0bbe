#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "audit/keeper.h"
#include "audit/proof.h"
#include "audit/reading.h"
#include "base/status_macros.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/table.h"
#include "crypto/base64.h"
#include "crypto/key_file.h"
#include "fmt/format.h"
#include "scheduler/audit_service.h"

namespace corpgrid::cli {
namespace {

namespace v1 = corpgrid::v1;

constexpr uint32_t kPage = scheduler::AuditService::kMaxPage;
constexpr size_t kShortText = 40;  // of a field in the table

struct AuditArguments {
  int64_t from = -1;
  uint32_t limit = 20;
  uint64_t index = 0;
  std::string against;
};

// What the log shows, against what this data folder remembers of it.
struct Shown {
  audit::Keeper keeper;
  v1::CheckpointResponse reply;
  crypto::PublicKey key;
  audit::Checkpoint checkpoint;
};

template <typename Field>
absl::StatusOr<audit::Proof> ReadProof(const Field& hashes) {
  audit::Proof proof;
  for (const std::string& raw : hashes) {
    ASSIGN_OR_RETURN(proof.emplace_back(), audit::TreeHash::FromRaw(raw));
  }
  return proof;
}

absl::StatusOr<Shown> AskForCheckpoint(Client& client) {
  ASSIGN_OR_RETURN(audit::Keeper keeper,
                   audit::Keeper::Open(client.data_folder(), audit::OriginOf(client.grid_id())));
  const uint64_t old_size = keeper.kept() ? keeper.kept()->size : 0;
  ASSIGN_OR_RETURN(v1::CheckpointResponse reply, client.Checkpoint(old_size));
  ASSIGN_OR_RETURN(const crypto::PublicKey key, crypto::PublicKey::FromRaw(reply.public_key()));
  ASSIGN_OR_RETURN(audit::Checkpoint checkpoint, keeper.Check(reply.note(), key));
  return Shown{std::move(keeper), std::move(reply), key, std::move(checkpoint)};
}

// Keeps what the log shows when it goes on from what was kept, and says what it says of itself.
absl::Status Keep(Shown& shown) {
  ASSIGN_OR_RETURN(const audit::Proof proof, ReadProof(shown.reply.consistency()));
  return shown.keeper.KeepProven(shown.reply.note(), shown.key, proof, shown.reply.trouble());
}

// What the log shows, or why it should not be believed.
absl::StatusOr<Shown> ShowChecked(Client& client) {
  ASSIGN_OR_RETURN(Shown shown, AskForCheckpoint(client));
  RETURN_IF_ERROR(Keep(shown));
  return shown;
}

// The entry's object; a text when somebody made it something else.
Json EntryJson(const std::string& entry) {
  Json json = Json::parse(entry, nullptr, /*allow_exceptions=*/false);
  return json.is_object() ? json : Json(entry);
}

std::string FieldText(const Json& value) {
  std::string text = value.is_string() ? value.get<std::string>() : value.dump();
  if (text.size() > kShortText) text = text.substr(0, kShortText - 3) + "...";
  return text;
}

void AddRow(uint64_t index, const Json& entry, Table* table) {
  std::string time = "-", event = "not readable", details;
  if (entry.is_object()) {
    for (const auto& [name, value] : entry.items()) {
      if (name == "event") {
        event = FieldText(value);
      } else if (name == "wall_ms" && value.is_number_integer()) {
        time = FormatLocalTime(value.get<int64_t>());
      } else if (name != "time_ms") {
        details += fmt::format("{}{}={}", details.empty() ? "" : " ", name, FieldText(value));
      }
    }
  }
  table->AddRow({std::to_string(index), time, event, details});
}

absl::Status List(const Common& common, const AuditArguments& arguments) {
  ASSIGN_OR_RETURN(const auto client, Client::Open(common.data_folder));
  ASSIGN_OR_RETURN(const Shown shown, ShowChecked(*client));
  const uint32_t limit = std::min(arguments.limit, kPage);
  const uint64_t size = shown.checkpoint.size;
  const uint64_t first = arguments.from >= 0 ? static_cast<uint64_t>(arguments.from)
                                             : size - std::min<uint64_t>(size, limit);
  ASSIGN_OR_RETURN(const v1::ListEntriesResponse list, client->ListEntries(first, limit));
  Json entries = Json::array();
  Table table({{"INDEX", true}, {"TIME"}, {"EVENT"}, {"DETAILS"}});
  for (const v1::AuditEntry& entry : list.entries()) {
    Json object = EntryJson(entry.entry());
    AddRow(entry.index(), object, &table);
    entries.push_back({{"index", entry.index()}, {"entry", std::move(object)}});
  }
  if (common.json) {
    PrintJson(Json{{"entries", std::move(entries)}});
  } else {
    Print(table.empty() ? "no entries\n" : table.ToText());
  }
  return absl::OkStatus();
}

absl::Status ReadAll(Client& client, audit::Reading* reading) {
  while (!reading->done()) {
    ASSIGN_OR_RETURN(const v1::ListEntriesResponse page,
                     client.ListEntries(reading->size(), kPage));
    if (page.entries().empty()) break;
    for (const v1::AuditEntry& entry : page.entries()) {
      if (reading->done()) break;
      RETURN_IF_ERROR(reading->Take(entry.index(), entry.entry(), entry.nodes()));
    }
  }
  return reading->Finish();
}

// A checkpoint that somebody else has kept: signed with the log's key, whoever brings it.
absl::StatusOr<audit::Earlier> ReadNote(const std::string& path, const Shown& shown) {
  const auto any_owner = [](const struct stat&) { return absl::OkStatus(); };
  ASSIGN_OR_RETURN(const std::string text,
                   crypto::ReadKeyFile(path, audit::SignedCheckpoint::kMaxBytes, any_owner));
  const auto note = audit::SignedCheckpoint::Parse(text);
  const absl::Status status =
      note.ok() ? note->Verify(shown.checkpoint.origin, shown.key) : note.status();
  if (!status.ok()) {
    return absl::Status(status.code(), fmt::format("{}: {}", path, std::string(status.message())));
  }
  if (note->checkpoint.size > shown.checkpoint.size) {
    return absl::DataLossError(
        fmt::format("the log was cut: its checkpoint has {} entries, the one in {} has {}",
                    shown.checkpoint.size, path, note->checkpoint.size));
  }
  return audit::Earlier{note->checkpoint, "in " + path};
}

absl::Status Verify(const Common& common, const AuditArguments& arguments) {
  ASSIGN_OR_RETURN(const auto client, Client::Open(common.data_folder));
  ASSIGN_OR_RETURN(Shown shown, AskForCheckpoint(*client));
  const std::optional<audit::Checkpoint> kept = shown.keeper.kept();
  std::vector<audit::Earlier> earlier;
  if (kept) earlier.push_back({*kept, "that was kept"});
  if (!arguments.against.empty()) {
    ASSIGN_OR_RETURN(earlier.emplace_back(), ReadNote(arguments.against, shown));
  }
  audit::Reading reading(shown.checkpoint, std::move(earlier));
  RETURN_IF_ERROR(ReadAll(*client, &reading));
  RETURN_IF_ERROR(Keep(shown));
  if (common.json) {
    PrintJson(Json{{"entries", shown.checkpoint.size},
                   {"root", crypto::ToBase64(shown.checkpoint.root.Raw())},
                   {"kept_entries", kept ? Json(kept->size) : Json(nullptr)},
                   {"key", shown.key.ToText()},
                   {"checkpoint", shown.reply.note()}});
    return absl::OkStatus();
  }
  Print(fmt::format("{} entries are as they were logged, signed with {}\n", shown.checkpoint.size,
                    shown.key.ToText()));
  Print(kept ? fmt::format("they begin with the {} of the checkpoint that was kept\n", kept->size)
             : "no checkpoint was kept before: this key and this log are trusted from now on\n");
  if (!arguments.against.empty()) Print(fmt::format("and with those of {}\n", arguments.against));
  Print(fmt::format("kept in {}\n", shown.keeper.path()));
  return absl::OkStatus();
}

absl::Status Prove(const Common& common, const AuditArguments& arguments) {
  ASSIGN_OR_RETURN(const auto client, Client::Open(common.data_folder));
  ASSIGN_OR_RETURN(const Shown shown, ShowChecked(*client));
  const uint64_t size = shown.checkpoint.size;
  ASSIGN_OR_RETURN(const v1::ProveInclusionResponse reply,
                   client->ProveInclusion(arguments.index, size));
  ASSIGN_OR_RETURN(const audit::Proof proof, ReadProof(reply.proof()));
  RETURN_IF_ERROR(audit::VerifyInclusion(audit::LeafHash(reply.entry().entry()), arguments.index,
                                         size, proof, shown.checkpoint.root));
  Json hashes = Json::array();
  for (const audit::TreeHash& hash : proof) hashes.push_back(crypto::ToBase64(hash.Raw()));
  if (common.json) {
    PrintJson(Json{{"index", arguments.index},
                   {"entry", reply.entry().entry()},
                   {"proof", std::move(hashes)},
                   {"checkpoint", shown.reply.note()}});
    return absl::OkStatus();
  }
  Print(
      fmt::format("entry {} of {}: {}\n", arguments.index, size, Printable(reply.entry().entry())));
  for (const Json& hash : hashes) Print(hash.get<std::string>() + "\n");
  Print("\n" + shown.reply.note());
  return absl::OkStatus();
}

}  // namespace

void AddAuditCommands(CommandTree& tree) {
  const auto arguments = std::make_shared<AuditArguments>();
  const auto code = [&common = tree.common](const absl::Status& status) -> int {
    return status.ok() ? kExitDone : Fail(common, status);
  };
  CLI::App* group = AddGroup(tree, "audit", "The log of what matters for security");
  CLI::App* list = AddCommand(
      tree, group, "list", "What was logged last, or from an entry on",
      "  corpgrid audit list\n"
      "  corpgrid audit list --from 0 --limit 1000 --json\n"
      "The log must go on from what was seen of it before; only `corpgrid audit verify` checks\n"
      "each entry.",
      [&common = tree.common, code, arguments] { return code(List(common, *arguments)); });
  list->add_option("--from", arguments->from, "The first entry's index")
      ->type_name("N")
      ->check(CLI::NonNegativeNumber.description(""));
  list->add_option("--limit", arguments->limit, "How many at most, up to 1000")
      ->capture_default_str()
      ->type_name("N");
  CLI::App* verify = AddCommand(
      tree, group, "verify",
      "Read the whole log and check that nothing was changed, removed or cut off",
      "  corpgrid audit verify\n"
      "  corpgrid audit verify --against agents.checkpoint\n"
      "It keeps the log's key and its last checkpoint in the data folder (audit.pub,\n"
      "audit.checkpoint), and finds out when a later log does not go on from it.",
      [&common = tree.common, code, arguments] { return code(Verify(common, *arguments)); });
  verify
      ->add_option("--against", arguments->against,
                   "A checkpoint of this log that somebody else has kept, say an agent")
      ->type_name("FILE");
  CLI::App* prove = AddCommand(
      tree, group, "prove", "Prove that an entry is in the log, to someone who has a checkpoint",
      "  corpgrid audit prove 17\n"
      "  corpgrid audit prove 17 --json > proof.json",
      [&common = tree.common, code, arguments] { return code(Prove(common, *arguments)); });
  prove->add_option("index", arguments->index, "The entry's index")->type_name("INDEX")->required();
}

}  // namespace corpgrid::cli
