#include "gateway/text_until.h"

#include <algorithm>
#include <set>
#include <vector>

#include "fmt/format.h"
#include "fmt/ranges.h"

namespace corpgrid::gateway {

// One rule for each letter of the marker that the text may have ended with: which is the automaton
// of Knuth, Morris and Pratt.
std::string TextUntil(std::string_view marker, const std::string& rest, bool may_end,
                      Gbnf* grammar) {
  std::vector<std::string> states;
  for (size_t i = 0; i < marker.size(); ++i) states.push_back(grammar->Reserve("text"));
  const std::set<char> letters(marker.begin(), marker.end());
  std::string known;
  for (const char c : letters) known += GbnfClassChar(c);
  for (size_t i = 0; i < marker.size(); ++i) {
    std::vector<std::string> ways = {fmt::format("[^{}] {}", known, states[0])};
    if (may_end) ways.emplace_back("\"\"");
    for (const char c : letters) {
      const std::string text = std::string(marker.substr(0, i)) + c;
      const size_t fits = text == marker ? marker.size() : BeginningOf(marker, text);
      ways.push_back(fmt::format("{} {}", GbnfLiteral(std::string(1, c)),
                                 fits == marker.size() ? rest : states[fits]));
    }
    grammar->Define(states[i], fmt::format("{}", fmt::join(ways, " | ")));
  }
  return states[0];
}

size_t BeginningOf(std::string_view marker, std::string_view text) {
  size_t length = std::min(text.size(), marker.size() - 1);
  while (!marker.starts_with(text.substr(text.size() - length))) --length;
  return length;
}

}  // namespace corpgrid::gateway
