#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "inference/token.h"
#include "inference/token_filter.h"

namespace corpgrid::inference {

// The tokens of a vocabulary that are no text by themselves, single bytes mostly, with their bytes.
using Fragments = std::map<Token, std::string>;
Fragments FragmentsOf(const Vocabulary& vocabulary, uint32_t size);

// Allows what `filter` does and what keeps the answer text: the library's grammars take bytes of no
// character for one character, which then counts as one and is shown as several. `fragments` must
// outlive it.
std::unique_ptr<TokenFilter> KeepText(std::unique_ptr<TokenFilter> filter,
                                      const Fragments* fragments);

}  // namespace corpgrid::inference
