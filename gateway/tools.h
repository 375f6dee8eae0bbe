#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "gateway/fields.h"

namespace corpgrid::gateway {

// Functions that a model may call.
struct Tools {
  enum class Choice : uint8_t { kNone, kAuto, kRequired };

  struct Function {
    std::string name;
    Json parameters;   // a schema
    std::string path;  // of the schema in the request
  };

  std::vector<Function> functions;  // those that may be called
  std::string json;                 // all of them, for the template; empty: none are told
  Choice choice = Choice::kNone;
  bool parallel = true;

  bool any() const { return choice != Choice::kNone; }
  bool must_call() const { return choice == Choice::kRequired; }
};

// Reads tools, tool_choice and parallel_tool_calls. Errors stay in `fields`.
Tools ReadTools(Fields* fields);

// How a model writes a call down.
struct ToolFormat {
  std::string_view name;
  std::string_view begin;       // before the first call
  std::string_view open;        // of a call, up to its function's name
  std::string_view after_name;  // up to the arguments, a JSON object
  std::string_view close;
  std::string_view between;  // calls
  std::string_view end;      // after the last
  std::string_view marker;   // what a beginning of calls is known by; `begin` and `open` begin so
  bool anywhere = false;     // calls may follow a text; else they are the whole answer
  bool several = false;      // calls in one answer
  bool tagged = false;       // the arguments are as in gateway/tagged_arguments.h
};

// The format of the family that the model's chat template is of: Llama 3, Hermes and older Qwen,
// newer Qwen (from Qwen3-Coder on), Mistral (old and new), or a general one, which the template
// engine explains to the model.
const ToolFormat& FormatOf(std::string_view chat_template);

// The grammar of an answer with such calls: with kAuto any text, in which the marker begins calls;
// with kRequired calls. Errors: InvalidArgument about a schema.
absl::StatusOr<std::string> ToolGrammar(const Tools& tools, const ToolFormat& format);

}  // namespace corpgrid::gateway
