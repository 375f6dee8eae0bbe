#include "job/map_reader.h"

#include <algorithm>

#include "fmt/format.h"
#include "job/suggest.h"
#include "job/yaml_values.h"

namespace corpgrid::job {

void MapReader::Add(Position at, const std::string& path, std::string_view message) {
  broken_.insert(path);
  mistakes_.push_back(
      {at, path.empty() ? std::string(message) : fmt::format("{}: {}", path, message)});
}

void MapReader::ReadMap(const YamlNode& node, const std::string& path, const Handlers& handlers) {
  std::vector<std::string> known;
  for (const auto& [key, handler] : handlers) known.push_back(key);
  ForEachKey(node, path, fmt::format("keys ({}) and values", fmt::join(known, ", ")),
             [&](const YamlNode& key, const YamlNode& value) {
               const auto found = std::find(known.begin(), known.end(), key.text);
               if (found == known.end()) {
                 UnknownKey(key, path, known);
                 return;
               }
               handlers[static_cast<size_t>(found - known.begin())].second(value);
             });
}

void MapReader::UnknownKey(const YamlNode& key, const std::string& path,
                           const std::vector<std::string>& known) {
  // Nobody reads more than the first, and a suggestion costs time.
  if (mistakes_.size() >= kMostMistakes) return Add(key.at, "", "unknown key");
  const Suggestion suggestion = SuggestKey(key.text, path, known);
  Add(key.at, "", suggestion.message);
  broken_.insert(suggestion.path);
}

void MapReader::ForEachKey(const YamlNode& node, const std::string& path, std::string_view expected,
                           const std::function<void(const YamlNode&, const YamlNode&)>& visit) {
  if (node.kind != YamlNode::Kind::kMap) {
    return Add(node.at, path, fmt::format("expected {}, got {}", expected, Found(node)));
  }
  std::map<std::string_view, size_t> first_lines;
  for (size_t i = 0; i < node.keys.size(); ++i) {
    const YamlNode& key = node.keys[i];
    if (key.kind != YamlNode::Kind::kText) {
      Add(key.at, path, fmt::format("expected a key, got {}", Found(key)));
      continue;
    }
    const auto [first, is_new] = first_lines.emplace(key.text, key.at.line);
    if (!is_new) {
      Add(key.at, Join(path, key.text),
          fmt::format("given a second time, first in line {}", first->second));
      continue;
    }
    marks_.emplace(Join(path, key.text), node.items[i].at);
    visit(key, node.items[i]);
  }
}

std::string MapReader::Join(const std::string& path, const std::string& key) {
  return path.empty() ? key : fmt::format("{}.{}", path, key);
}

void MapReader::ReadList(const YamlNode& node, const std::string& path,
                         std::vector<std::string>& texts) {
  texts.clear();
  if (node.kind != YamlNode::Kind::kList) {
    const std::string hint = node.kind == YamlNode::Kind::kText
                                 ? fmt::format("; write it as [{}]", QuoteYaml(node.text))
                                 : "";
    return Add(node.at, path, fmt::format("expected a list, got {}{}", Found(node), hint));
  }
  for (const YamlNode& item : node.items) {
    const std::string item_path = fmt::format("{}[{}]", path, texts.size());
    marks_.emplace(item_path, item.at);
    // The stand-ins differ: two of one name would be a mistake of their own.
    Set(item, item_path, TextOf(item), texts.emplace_back(), fmt::format("x{}", texts.size()));
  }
}

}  // namespace corpgrid::job
