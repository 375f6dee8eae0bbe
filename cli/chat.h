#pragma once

#include <string>
#include <string_view>

#include "cli/json.h"

namespace corpgrid::cli {

// A conversation with a model, in memory alone. One thread.
class Conversation {
 public:
  // `system`: what the model is told before all else; empty: nothing.
  explicit Conversation(std::string system) : system_(std::move(system)) {}

  void SetSystem(std::string system) { system_ = std::move(system); }
  // Forgets what was said; what the model was told to be stays.
  void Clear() { said_.clear(); }
  void AddExchange(std::string question, std::string answer);

  // What was said and the next question: the OpenAI API's `messages`. Bytes that are not UTF-8
  // become U+FFFD.
  std::string MessagesWith(std::string_view question) const;

 private:
  std::string system_;
  Json said_ = Json::array();
};

// What a person typed at the prompt.
struct ChatLine {
  enum class Kind { kNothing, kMessage, kHelp, kClear, kSystem, kExit, kUnknown };
  Kind kind = Kind::kNothing;
  std::string text;  // the message, the text for /system, or the command that there is not

  bool operator==(const ChatLine&) const = default;
};

// "/help", "/clear", "/system TEXT" and "/exit" are commands; what else starts with '/' and a
// letter is unknown, when no second '/' makes it a path. Without spaces at both ends.
ChatLine ParseChatLine(std::string_view line);

// The command nearest to an unknown one; empty: none.
std::string NearestChatCommand(std::string_view command);

// `text` as a terminal may show it: lines and tabs stay, what else would move the cursor is made
// visible, as by Printable().
std::string PrintableLines(std::string_view text);

}  // namespace corpgrid::cli
