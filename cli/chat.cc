#include "cli/chat.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "base/text.h"
#include "cli/table.h"

namespace corpgrid::cli {
namespace {

using Kind = ChatLine::Kind;

constexpr std::pair<std::string_view, Kind> kCommands[] = {{"/help", Kind::kHelp},
                                                           {"/clear", Kind::kClear},
                                                           {"/system", Kind::kSystem},
                                                           {"/exit", Kind::kExit}};

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kSpaces = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpaces);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpaces) - begin + 1);
}

Json Message(std::string_view role, std::string_view content) {
  return {{"role", role}, {"content", content}};
}

}  // namespace

void Conversation::AddExchange(std::string question, std::string answer) {
  said_.push_back(Message("user", question));
  said_.push_back(Message("assistant", answer));
}

std::string Conversation::MessagesWith(std::string_view question) const {
  Json messages = Json::array();
  if (!system_.empty()) messages.push_back(Message("system", system_));
  messages.insert(messages.end(), said_.begin(), said_.end());
  messages.push_back(Message("user", question));
  return messages.dump(-1, ' ', false, Json::error_handler_t::replace);
}

ChatLine ParseChatLine(std::string_view line) {
  line = Trim(line);
  if (line.empty()) return {};
  const std::string_view word = line.substr(0, line.find_first_of(" \t"));
  const bool command = word.size() > 1 && word[0] == '/' &&
                       std::isalpha(static_cast<unsigned char>(word[1])) != 0 &&
                       word.find('/', 1) == std::string_view::npos;
  if (!command) return {Kind::kMessage, std::string(line)};
  const auto* const found = std::find_if(std::begin(kCommands), std::end(kCommands),
                                         [&](const auto& one) { return one.first == word; });
  if (found == std::end(kCommands)) return {Kind::kUnknown, std::string(word)};
  return {found->second, std::string(Trim(line.substr(word.size())))};
}

std::string NearestChatCommand(std::string_view command) {
  std::vector<std::string> names;
  for (const auto& one : kCommands) names.emplace_back(one.first);
  return Nearest(command, names);
}

std::string PrintableLines(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t end = std::min(text.find_first_of("\n\t"), text.size());
    out += Printable(text.substr(0, end));
    if (end < text.size()) out += text[end];
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

}  // namespace corpgrid::cli
