#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "inference/token_filter.h"

struct llama_vocab;

namespace corpgrid::inference {

// A filter by a grammar in GBNF, whose first rule is "root". `vocabulary` must outlive it. Any
// thread. Errors: InvalidArgument with the library's words for a text that is no grammar.
absl::StatusOr<std::unique_ptr<TokenFilter>> MakeGrammarFilter(const llama_vocab* vocabulary,
                                                               const std::string& grammar);

}  // namespace corpgrid::inference
