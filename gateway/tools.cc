#include "gateway/tools.h"

#include <algorithm>
#include <cctype>
#include <set>

#include "base/status_macros.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "gateway/api_error.h"
#include "gateway/gbnf.h"
#include "gateway/json_schema.h"
#include "gateway/tagged_arguments.h"
#include "gateway/text_until.h"

namespace corpgrid::gateway {
namespace {

constexpr size_t kMaxTools = 128;
constexpr size_t kMaxName = 64;

constexpr ToolFormat kLlama = {.name = "llama3",
                               .begin = "",
                               .open = R"({"name": ")",
                               .after_name = R"(", "parameters": )",
                               .close = "}",
                               .between = "",
                               .end = "",
                               .marker = R"({"name")"};
constexpr ToolFormat kHermes = {.name = "hermes",
                                .begin = "",
                                .open = "<tool_call>\n{\"name\": \"",
                                .after_name = R"(", "arguments": )",
                                .close = "}\n</tool_call>",
                                .between = "\n",
                                .end = "",
                                .marker = "<tool_call>",
                                .anywhere = true,
                                .several = true};
constexpr ToolFormat kQwen = {.name = "qwen",
                              .begin = "",
                              .open = "<tool_call>\n<function=",
                              .after_name = ">\n",
                              .close = "</function>\n</tool_call>",
                              .between = "\n",
                              .end = "",
                              .marker = "<tool_call>",
                              .anywhere = true,
                              .several = true,
                              .tagged = true};
constexpr ToolFormat kMistral = {.name = "mistral",
                                 .begin = "[TOOL_CALLS][",
                                 .open = R"({"name": ")",
                                 .after_name = R"(", "arguments": )",
                                 .close = "}",
                                 .between = ", ",
                                 .end = "]",
                                 .marker = "[TOOL_CALLS]",
                                 .anywhere = true,
                                 .several = true};
constexpr ToolFormat kMistralArgs = {.name = "mistral-args",
                                     .begin = "",
                                     .open = "[TOOL_CALLS]",
                                     .after_name = "[ARGS]",
                                     .close = "",
                                     .between = "",
                                     .end = "",
                                     .marker = "[TOOL_CALLS]",
                                     .anywhere = true,
                                     .several = true};
constexpr ToolFormat kGeneric = {.name = "generic",
                                 .begin = R"({"tool_calls": [)",
                                 .open = R"({"name": ")",
                                 .after_name = R"(", "arguments": )",
                                 .close = "}",
                                 .between = ", ",
                                 .end = "]}",
                                 .marker = R"({"tool_calls")",
                                 .several = true};

void ReadFunction(Fields* fields, const Json& tool, const std::string& path, Tools* tools) {
  Fields outer(tool, path);
  outer.Require("type");
  outer.Word("type", "function", {"function"});
  outer.Require("function");
  const Json none = Json::object();
  const Json* function = outer.Object("function");
  Fields inner(function == nullptr ? none : *function, path + ".function");
  inner.Require("name");
  Tools::Function read{.name = inner.Text("name"),
                       .parameters = {{"type", "object"}, {"properties", Json::object()}},
                       .path = path + ".function.parameters"};
  const bool plain = std::all_of(read.name.begin(), read.name.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '-';
  });
  if (read.name.empty() || read.name.size() > kMaxName || !plain) {
    inner.Fail("name", fmt::format("has to be 1 to {} letters, digits, _ and -", kMaxName));
  }
  if (const Json* parameters = inner.Object("parameters")) read.parameters = *parameters;
  // A call ends with the brace that its arguments end with.
  if (read.parameters.emplace("type", "object").first.value() != "object" ||
      read.parameters.value("nullable", Json()) == true || read.parameters.contains("enum") ||
      read.parameters.contains("const")) {
    inner.Fail("parameters", "has to be a schema of the type \"object\"");
  }
  inner.Text("description");
  inner.Bool("strict", true);  // they always are
  fields->Fail(outer.Finish());
  if (function != nullptr) fields->Fail(inner.Finish());
  for (const Tools::Function& other : tools->functions) {
    if (other.name == read.name) fields->Fail("tools", "has two functions of the same name");
  }
  tools->functions.push_back(std::move(read));
}

void ReadChoice(Fields* fields, Tools* tools) {
  const Json* choice = fields->Any("tool_choice");
  tools->choice = tools->functions.empty() ? Tools::Choice::kNone : Tools::Choice::kAuto;
  if (choice == nullptr) return;
  if (choice->is_string()) {
    const std::string word = fields->Word("tool_choice", "auto", {"none", "auto", "required"});
    if (word == "none") tools->choice = Tools::Choice::kNone;
    if (word == "required") tools->choice = Tools::Choice::kRequired;
  } else if (choice->is_object()) {
    Fields named(*choice, "tool_choice");
    named.Word("type", "function", {"function"});
    named.Require("function");
    const Json* function = named.Object("function");
    fields->Fail(named.Finish());
    if (function == nullptr) return;
    Fields inner(*function, "tool_choice.function");
    const std::string name = inner.Text("name");
    fields->Fail(inner.Finish());
    std::erase_if(tools->functions, [&](const auto& function) { return function.name != name; });
    tools->choice = Tools::Choice::kRequired;
    tools->parallel = false;
    if (tools->functions.empty()) {
      fields->Fail("tool_choice", fmt::format("names \"{}\", which is not among the tools", name));
    }
  } else {
    fields->Fail("tool_choice", "has to be \"none\", \"auto\", \"required\" or a function");
  }
  if (tools->any() && tools->functions.empty()) {
    fields->Fail("tool_choice", "asks for a call, and there are no tools");
  }
}

// Ways of a rule, one alternative each.
std::string Or(const std::vector<std::string>& ways) {
  return fmt::format("{}", fmt::join(ways, " | "));
}

// `calls` after the marker at the very start; or any text that does not begin with the marker.
std::string TextOrAtStart(std::string_view marker, const std::string& calls, Gbnf* grammar) {
  const std::string any = grammar->Add("any", ".*");
  std::string next = calls;
  for (size_t i = marker.size(); i-- > 0;) {
    next = grammar->Add("start", fmt::format("\"\" | [^{}] {} | {} {}", GbnfClassChar(marker[i]),
                                             any, GbnfLiteral(marker.substr(i, 1)), next));
  }
  return next;
}

}  // namespace

Tools ReadTools(Fields* fields) {
  Tools tools;
  const Json* list = fields->List("tools");
  if (list != nullptr && list->size() > kMaxTools) {
    fields->Fail("tools", fmt::format("has {}; at most {} are possible", list->size(), kMaxTools));
    return tools;
  }
  for (size_t i = 0; list != nullptr && i < list->size(); ++i) {
    ReadFunction(fields, (*list)[i], fmt::format("tools[{}]", i), &tools);
  }
  tools.parallel = fields->Bool("parallel_tool_calls", true);
  ReadChoice(fields, &tools);
  if (tools.any() && list != nullptr) tools.json = Dump(*list);
  return tools;
}

const ToolFormat& FormatOf(std::string_view chat_template) {
  const auto has = [&](std::string_view text) {
    return chat_template.find(text) != std::string_view::npos;
  };
  if (has("[TOOL_CALLS]")) return has("[ARGS]") ? kMistralArgs : kMistral;
  if (has("<tool_call>")) return has("<function=") && has("<parameter=") ? kQwen : kHermes;
  if (has("<|start_header_id|>") && (has("ipython") || has("<|python_tag|>"))) return kLlama;
  return kGeneric;
}

absl::StatusOr<std::string> ToolGrammar(const Tools& tools, const ToolFormat& format) {
  Gbnf grammar;
  std::vector<std::string> functions;
  for (const Tools::Function& function : tools.functions) {
    ASSIGN_OR_RETURN(const std::string arguments,
                     format.tagged
                         ? TaggedArguments(function, &grammar)
                         : SchemaGrammar(function.parameters, function.path, &grammar).Build());
    functions.push_back(
        grammar.Add(function.name, fmt::format("{} {} {}", GbnfLiteral(function.name),
                                               GbnfLiteral(format.after_name), arguments)));
  }
  const std::string rest =
      grammar.Add("rest", fmt::format("( {} ) {}", Or(functions), GbnfLiteral(format.close)));
  std::string more;
  if (tools.parallel && format.several) {
    more = fmt::format("( {} {} )*",
                       GbnfLiteral(std::string(format.between) + std::string(format.open)), rest);
  }
  const std::string start = std::string(format.begin) + std::string(format.open);
  const std::string after = fmt::format("{} {} {}", rest, more, GbnfLiteral(format.end));
  if (tools.choice == Tools::Choice::kRequired) {
    return grammar.Text(fmt::format("{} {}", GbnfLiteral(start), after), "tools");
  }
  const std::string calls = grammar.Add(
      "calls", fmt::format("{} {}", GbnfLiteral(start.substr(format.marker.size())), after));
  return grammar.Text(format.anywhere ? TextUntil(format.marker, calls, /*may_end=*/true, &grammar)
                                      : TextOrAtStart(format.marker, calls, &grammar),
                      "tools");
}

}  // namespace corpgrid::gateway
