// A person types, a model of the grid answers as it thinks. Lines are edited by libedit, which also
// remembers them while the chat lasts; a terminal's own editing would cut a pasted text at 4095
// bytes.

#include <editline/readline.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>

#include "base/status_macros.h"
#include "base/text.h"
#include "cli/chat.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/table.h"
#include "corpgrid/v1/hosting.pb.h"
#include "fmt/format.h"

namespace corpgrid::cli {
namespace {

namespace v1 = corpgrid::v1;

constexpr size_t kMaxMessageBytes = 8 << 20;  // a call to the scheduler may have twice that
constexpr int kRemembered = 1000;             // lines

constexpr char kHelp[] =
    "  /clear         forget what was said\n"
    "  /system TEXT   tell the model what to be, from the next message on; without TEXT, nothing\n"
    "  /exit          leave, as Ctrl-D\n"
    "Ctrl-C stops an answer, and leaves where there is none. The arrow keys bring lines back.\n";

struct ChatArguments {
  std::string model;
  std::string message;
  std::string system;
  double temperature = 1;
  uint32_t max_tokens = 0;
  std::optional<uint64_t> seed;
};

struct Answer {
  std::string text;  // what came of it, also when it broke off
  v1::AnswerEnd end;
  absl::Status status;  // Cancelled: by Ctrl-C
};

// Errors: NotFound, with what to do, when the grid does not host it.
absl::Status CheckLoaded(Client* client, const std::string& model) {
  ASSIGN_OR_RETURN(const v1::ListModelsResponse list, client->ListModels());
  std::vector<std::string> names;
  for (const v1::LoadedModel& one : list.models()) names.push_back(one.name());
  if (std::find(names.begin(), names.end(), model) != names.end()) return absl::OkStatus();
  const std::string near = Nearest(model, names);
  return absl::NotFoundError(
      fmt::format("model {} is not loaded{}; `corpgrid model load {}` loads it, `corpgrid model "
                  "ps` shows those that are",
                  model, near.empty() ? "" : fmt::format("; did you mean {}?", near), model));
}

// Asks, and tells `on_text` each part of the answer. Until Ctrl-C.
template <typename OnText>
Answer Ask(Client* client, const ChatArguments& arguments, std::string messages, OnText on_text) {
  v1::InferRequest request;
  request.set_model(arguments.model);
  request.set_messages(std::move(messages));
  v1::GenerateRequest* generate = request.mutable_generate();
  generate->set_max_tokens(arguments.max_tokens);
  generate->mutable_sampling()->set_temperature(arguments.temperature);
  if (arguments.seed) generate->mutable_sampling()->set_seed(*arguments.seed);
  Answer answer;
  const auto add = [&](const std::string& text) {
    answer.text += text;
    on_text(text);
  };
  const InterruptFlag interrupt;
  answer.status = client->Infer(
      request,
      [&](const v1::GenerateResponse& part) {
        for (const v1::Piece& piece : part.pieces()) add(piece.text());
        for (const v1::AnswerEnd& end : part.ends()) {
          add(end.text());
          answer.end = end;
        }
      },
      interrupt.raised());
  return answer;
}

void PrintAnswer(std::string_view text) { Print(PrintableLines(text)); }

// A chat in a terminal, until the person leaves.
class Chat {
 public:
  Chat(Client* client, const ChatArguments& arguments)
      : client_(client), arguments_(arguments), conversation_(arguments.system) {}

  void Run() {
    std::setlocale(LC_CTYPE, "");  // libedit moves by characters of this
    using_history();
    stifle_history(kRemembered);
    Print(fmt::format("{} listens. /help tells what else there is, Ctrl-D leaves.\n",
                      Printable(arguments_.model)));
    while (true) {
      const std::unique_ptr<char, decltype(&std::free)> line(readline("> "), &std::free);
      if (line == nullptr) return Print("\n");
      const ChatLine said = ParseChatLine(line.get());
      if (said.kind != ChatLine::Kind::kNothing) add_history(line.get());
      if (said.kind == ChatLine::Kind::kExit) return;
      Take(said);
    }
  }

 private:
  void Take(const ChatLine& said) {
    using Kind = ChatLine::Kind;
    switch (said.kind) {
      case Kind::kMessage:
        return Converse(said.text);
      case Kind::kHelp:
        return Print(kHelp);
      case Kind::kClear:
        conversation_.Clear();
        return Print("(what was said is forgotten)\n");
      case Kind::kSystem:
        conversation_.SetSystem(said.text);
        return Print(said.text.empty() ? "(it is told nothing now)\n" : "(it is told so now)\n");
      case Kind::kUnknown: {
        const std::string near = NearestChatCommand(said.text);
        return Print(fmt::format("there is no {}{}; /help lists what there is\n",
                                 Printable(said.text),
                                 near.empty() ? "" : fmt::format("; did you mean {}?", near)));
      }
      case Kind::kNothing:
      case Kind::kExit:
        return;
    }
  }

  void Converse(const std::string& question) {
    const Answer answer =
        Ask(client_, arguments_, conversation_.MessagesWith(question), PrintAnswer);
    if (!answer.text.ends_with('\n')) Print("\n");
    if (answer.status.ok() && answer.end.reason() == v1::AnswerEnd::LENGTH) {
      Print(fmt::format("(cut after {} tokens)\n", answer.end.answer_tokens()));
    }
    if (absl::IsCancelled(answer.status)) Print("(stopped)\n");
    if (answer.status.ok() || absl::IsCancelled(answer.status)) {
      conversation_.AddExchange(question, answer.text);
      return;
    }
    Say(fmt::format("corpgrid: {}\n(the message is not kept: send it again, or /clear)",
                    PrintableLines(std::string(answer.status.message()))));
  }

  Client* const client_;
  const ChatArguments& arguments_;
  Conversation conversation_;
};

// One message from stdin, whole. Errors: InvalidArgument when it is too long.
absl::StatusOr<std::string> ReadMessage() {
  std::string message;
  std::array<char, 65536> buffer;
  while (const size_t got = std::fread(buffer.data(), 1, buffer.size(), stdin)) {
    message.append(buffer.data(), got);
    if (message.size() > kMaxMessageBytes) {
      return absl::InvalidArgumentError(
          fmt::format("the message on stdin is longer than {}", FormatBytes(kMaxMessageBytes)));
    }
  }
  return message;
}

absl::Status AskOnce(const Common& common, Client* client, const ChatArguments& arguments) {
  std::string message = arguments.message;
  if (message.empty()) {
    ASSIGN_OR_RETURN(message, ReadMessage());
  }
  if (ParseChatLine(message).kind == ChatLine::Kind::kNothing) {
    return absl::InvalidArgumentError("the message is empty; give one, or write it to stdin");
  }
  const Conversation conversation(arguments.system);
  const Answer answer =
      Ask(client, arguments, conversation.MessagesWith(message), [&](std::string_view text) {
        if (!common.json) PrintAnswer(text);
      });
  if (!common.json && !answer.text.empty() && !answer.text.ends_with('\n')) Print("\n");
  RETURN_IF_ERROR(answer.status);
  if (common.json) {
    const bool cut = answer.end.reason() == v1::AnswerEnd::LENGTH;
    PrintJson(Json{{"answer", answer.text},
                   {"prompt_tokens", answer.end.prompt_tokens()},
                   {"answer_tokens", answer.end.answer_tokens()},
                   {"finish", cut ? "length" : "stop"}});
  }
  return absl::OkStatus();
}

absl::Status RunChat(const Common& common, const ChatArguments& arguments) {
  const bool typed = arguments.message.empty() && isatty(STDIN_FILENO) == 1;
  if (typed && (common.json || isatty(STDOUT_FILENO) != 1)) {
    return absl::InvalidArgumentError(fmt::format(
        "a chat that is typed wants a terminal to be shown on{}; give the message: corpgrid chat "
        "{} \"MESSAGE\"",
        common.json ? ", and no --json" : "", arguments.model));
  }
  ASSIGN_OR_RETURN(const auto client, Client::Open(common.data_folder));
  RETURN_IF_ERROR(CheckLoaded(client.get(), arguments.model));
  if (!typed) return AskOnce(common, client.get(), arguments);
  Chat(client.get(), arguments).Run();
  return absl::OkStatus();
}

int Exit(const Common& common, const absl::Status& status) {
  if (status.ok()) return kExitDone;
  const int code = Fail(common, status);
  return absl::IsCancelled(status) ? kExitInterrupted : code;
}

}  // namespace

void AddChatCommand(CommandTree& tree) {
  const auto arguments = std::make_shared<ChatArguments>();
  CLI::App* chat = AddCommand(
      tree, &tree.root, "chat", "Talk with a model that the grid hosts",
      "  corpgrid chat llama-3-8b\n"
      "  corpgrid chat llama-3-8b --system \"Answer in one sentence.\" --temperature 0.5\n"
      "  corpgrid chat llama-3-8b \"What is a quorum?\"\n"
      "  corpgrid chat llama-3-8b --json < question.txt | jq -r .answer\n"
      "Without a message and a terminal, it reads one message from stdin and leaves.",
      [&common = tree.common, arguments] { return Exit(common, RunChat(common, *arguments)); });
  chat->add_option("model", arguments->model, "The model")->type_name("MODEL")->required();
  chat->add_option("message", arguments->message, "One message: print its answer and leave")
      ->type_name("MESSAGE");
  chat->add_option("--system", arguments->system, "What the model is told before all else")
      ->type_name("TEXT");
  chat->add_option("--temperature", arguments->temperature,
                   "0: always the likeliest word; up to 2: more and more surprising ones")
      ->type_name("NUMBER")
      ->check(CLI::Range(0.0, 2.0).description(""))
      ->capture_default_str();
  chat->add_option("--max-tokens", arguments->max_tokens,
                   "Of each answer (default: as many as there is room for)")
      ->type_name("TOKENS");
  chat->add_option("--seed", arguments->seed, "The same one makes the same choices")
      ->type_name("NUMBER");
}

}  // namespace corpgrid::cli
