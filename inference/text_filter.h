#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "inference/token.h"
#include "inference/token_filter.h"

namespace corpgrid::inference {

// The tokens of a vocabulary that are no text by themselves.
struct Fragments {
  std::map<Token, std::string> bytes;  // single bytes, mostly
  std::set<Token> control;             // with a name only; without those that end an answer
};
Fragments FragmentsOf(const Vocabulary& vocabulary, uint32_t size);

// Allows what `filter` does and what it knows by its text: the library's grammars take bytes of no
// character for one character, which is shown as several, and a control token for its name, which
// is shown only `with_control`. `fragments` must outlive it.
std::unique_ptr<TokenFilter> KeepText(std::unique_ptr<TokenFilter> filter,
                                      const Fragments* fragments, bool with_control);

}  // namespace corpgrid::inference
