#include "base/last_words.h"

#include <algorithm>

namespace corpgrid {

std::string LastWords(std::string said) {
  while (!said.empty() && said.back() == '\n') said.pop_back();
  if (said.size() > kLastWordsBytes) {
    said.erase(0, said.size() - kLastWordsBytes);
    said.erase(0, std::min(said.find('\n') + 1, said.size()));
  }
  for (size_t at; (at = said.find('\n')) != std::string::npos;) said.replace(at, 1, " / ");
  return said;
}

}  // namespace corpgrid
