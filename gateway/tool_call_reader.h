#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/tagged_arguments.h"
#include "gateway/tools.h"

namespace corpgrid::gateway {

// Tells text and calls of an answer apart while it comes, in whatever pieces. The grammar makes
// sure that calls are in the format. One thread.
class ToolCallReader {
 public:
  struct Part {
    enum class Kind : uint8_t { kText, kName, kArguments };
    Kind kind = Kind::kText;
    size_t call = 0;   // the number of the call
    std::string text;  // the text, the whole name of the next call, or a part of its arguments
  };

  // Both have to outlive it.
  ToolCallReader(const ToolFormat& format, const Tools& tools)
      : format_(format),
        tools_(tools),
        state_(tools.must_call() ? State::kOpening : State::kText) {}

  std::vector<Part> Push(std::string_view text);
  // What was kept back, where it was no beginning of a call.
  std::vector<Part> Finish();

  size_t calls() const { return calls_; }
  // Whether the last one has begun and not ended.
  bool in_call() const { return state_ == State::kAfterName || state_ == State::kArguments; }

 private:
  enum class State : uint8_t { kText, kOpening, kName, kAfterName, kArguments };

  // Each takes what it can from the front of held_; false when it needs more.
  bool ReadText(std::vector<Part>* parts);
  bool ReadOpening();
  bool ReadName(std::vector<Part>* parts);
  bool ReadArguments(std::vector<Part>* parts);
  void ShowText(size_t bytes, std::vector<Part>* parts);

  const ToolFormat& format_;
  const Tools& tools_;
  State state_;
  std::string held_;
  bool at_start_ = true;
  size_t calls_ = 0;
  int depth_ = 0;  // of the arguments
  bool in_string_ = false;
  bool escaped_ = false;
  std::optional<TaggedReader> tagged_;  // of the arguments, in such a format
};

}  // namespace corpgrid::gateway
