#include "job/yaml.h"

#include <algorithm>
#include <sstream>
#include <utility>

#include "fmt/format.h"
#include "job/text.h"
#include "yaml-cpp/eventhandler.h"
#include "yaml-cpp/exceptions.h"
#include "yaml-cpp/mark.h"
#include "yaml-cpp/parser.h"

namespace corpgrid::job {
namespace {

constexpr size_t kMaxFileBytes = 1 << 20;
constexpr size_t kMaxDepth = 8;

Position At(const YAML::Mark& mark) {
  return {static_cast<size_t>(std::max(mark.line, 0)) + 1,
          static_cast<size_t>(std::max(mark.column, 0)) + 1};
}

// Ends a parse that has said all it can.
struct Stop {
  Mistake mistake;
};

// Builds the tree from the parser's events. Nodes under construction are a stack, so that neither
// this nor the parser recurses deeper than kMaxDepth.
class TreeBuilder : public YAML::EventHandler {
 public:
  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1) {
      throw Stop{{At(mark), "a job file holds one YAML document; a second one begins here"}};
    }
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Begin(mark, "?", anchor, YamlNode::Kind::kNull);
    End();
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { RefuseAnchor(mark); }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    Begin(mark, tag, anchor, YamlNode::Kind::kText).text = value;
    End();
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value style) override {
    Begin(mark, tag, anchor, YamlNode::Kind::kList);
    if (style == YAML::EmitterStyle::Flow) progress_.open.push_back(At(mark));
    flow_.push_back(style == YAML::EmitterStyle::Flow);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value style) override {
    Begin(mark, tag, anchor, YamlNode::Kind::kMap);
    if (style == YAML::EmitterStyle::Flow) progress_.open.push_back(At(mark));
    flow_.push_back(style == YAML::EmitterStyle::Flow);
  }
  void OnSequenceEnd() override { EndCollection(); }
  void OnMapEnd() override { EndCollection(); }

  const Progress& progress() const { return progress_; }
  std::optional<YamlNode> TakeRoot() { return std::move(root_); }

 private:
  [[noreturn]] static void RefuseAnchor(const YAML::Mark& mark) {
    throw Stop{{At(mark),
                "YAML anchors and aliases (& and *) are not supported: write the value out; a text "
                "that begins with one of them needs quotes"}};
  }

  YamlNode& Begin(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YamlNode::Kind kind) {
    progress_.last = At(mark);
    if (anchor != 0) RefuseAnchor(mark);
    if (!tag.empty() && tag != "?" && tag != "!") {
      throw Stop{{At(mark),
                  "YAML tags (!) are not supported: leave it out; a text that begins "
                  "with \"!\" needs quotes"}};
    }
    if (stack_.size() == kMaxDepth) {
      throw Stop{{At(mark), fmt::format("nested more than {} levels deep", kMaxDepth)}};
    }
    YamlNode& node = stack_.emplace_back();
    node.kind = kind;
    node.at = At(mark);
    return node;
  }

  void EndCollection() {
    if (flow_.back()) progress_.open.pop_back();
    flow_.pop_back();
    End();
  }

  void End() {
    YamlNode node = std::move(stack_.back());
    stack_.pop_back();
    if (stack_.empty()) {
      root_ = std::move(node);
      return;
    }
    YamlNode& parent = stack_.back();
    const bool is_key =
        parent.kind == YamlNode::Kind::kMap && parent.keys.size() == parent.items.size();
    // The parser places a value that is not there at whatever comes next.
    if (node.kind == YamlNode::Kind::kNull && parent.kind == YamlNode::Kind::kMap && !is_key) {
      node.at = parent.keys.back().at;
    }
    (is_key ? parent.keys : parent.items).push_back(std::move(node));
  }

  int documents_ = 0;
  std::vector<YamlNode> stack_;
  std::vector<bool> flow_;
  std::optional<YamlNode> root_;
  Progress progress_;
};

Position PositionOf(std::string_view text, size_t offset) {
  const std::string_view before = text.substr(0, offset);
  const size_t break_at = before.rfind('\n');
  return {static_cast<size_t>(std::count(before.begin(), before.end(), '\n')) + 1,
          break_at == std::string_view::npos ? offset + 1 : offset - break_at};
}

// What yaml-cpp would take in its own way: other encodings, control characters.
std::optional<Mistake> RefuseNonText(std::string_view text) {
  if (text.size() > kMaxFileBytes) {
    return Mistake{{},
                   fmt::format("the file has {} bytes, a job file has at most {}", text.size(),
                               kMaxFileBytes)};
  }
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if ((c < 0x20 && c != '\n' && c != '\t' && c != '\r') || c == 0x7f) {
      return Mistake{PositionOf(text, i),
                     fmt::format("a control character (0x{:02x}): is this a text file?", c)};
    }
  }
  const size_t bad = FirstBadUtf8(text);
  if (bad == text.size()) return std::nullopt;
  return Mistake{PositionOf(text, bad),
                 fmt::format("not UTF-8: byte 0x{:02x}; save the file as UTF-8",
                             static_cast<unsigned char>(text[bad]))};
}

}  // namespace

Document ParseYaml(std::string_view text) {
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  Document document;
  if (const std::optional<Mistake> mistake = RefuseNonText(text)) {
    document.mistakes.push_back(*mistake);
    return document;
  }
  TreeBuilder builder;
  try {
    // yaml-cpp closes a quotation that is open when the file ends with a line break; the mark of
    // the document's end makes it an error.
    std::istringstream in(fmt::format("{}{}", text, text.ends_with('\n') ? "...\n" : ""));
    YAML::Parser parser(in);
    while (parser.HandleNextDocument(builder)) {
    }
    document.root = builder.TakeRoot();
    if (!document.root || document.root->kind == YamlNode::Kind::kNull) {
      document.root.reset();
      document.mistakes.push_back({{},
                                   "the file is empty; a job needs at least \"name:\" and \"run: "
                                   "{command: [...]}\""});
    }
  } catch (const Stop& stop) {
    document.mistakes.push_back(stop.mistake);
  } catch (const YAML::Exception& error) {
    document.mistakes.push_back(
        ExplainSyntaxError(Lines(text), error.msg, At(error.mark), builder.progress()));
  }
  return document;
}

Lines::Lines(std::string_view text) {
  while (true) {
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines_.push_back(line);
    if (end == std::string_view::npos) return;
    text.remove_prefix(end + 1);
  }
}

std::string_view Lines::From(Position at) const {
  const std::string_view line = (*this)[at.line];
  return line.substr(std::min(at.column - 1, line.size()));
}

size_t Lines::Column(Position at) const {
  const std::string_view before = (*this)[at.line].substr(0, at.column - 1);
  const auto is_first = [](unsigned char c) { return (c & 0xc0) != 0x80; };
  // Behind the end of the line there are no characters to count.
  const size_t beyond = at.column - 1 - before.size();
  return static_cast<size_t>(std::count_if(before.begin(), before.end(), is_first)) + beyond + 1;
}

}  // namespace corpgrid::job
