#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "gateway/gbnf.h"
#include "gateway/tools.h"

namespace corpgrid::gateway {

// Arguments of a call as newer models of Qwen write them, each in a tag of its own:
//
//   <parameter=NAME>
//   VALUE
//   </parameter>
//
// A value whose schema says that it is a string or one of some strings, and nothing more of it,
// stands there as it is; any other is JSON.

// The rule of a function's arguments, in the schema's order. Errors: InvalidArgument about the
// schema.
absl::StatusOr<std::string> TaggedArguments(const Tools::Function& function, Gbnf* grammar);

// Makes JSON of them while they come. One thread.
class TaggedReader {
 public:
  // Null for a function that there is not: all its values are JSON. It has to outlive the reader.
  explicit TaggedReader(const Tools::Function* function) : function_(function) {}

  // Takes what it can from the front of `held`; returns what comes next of the object.
  std::string Read(std::string* held);
  // The function's own tag ends; it is the front of `held` then.
  bool over() const { return over_; }

 private:
  bool ReadTag(std::string* held, std::string* json);
  bool ReadValue(std::string* held, std::string* json);

  const Tools::Function* const function_;
  bool is_first_ = true;
  bool in_value_ = false;
  bool is_text_ = false;
  bool over_ = false;
};

}  // namespace corpgrid::gateway
