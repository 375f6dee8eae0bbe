#include "job/job_file.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <utility>

#include "base/text.h"
#include "fmt/format.h"
#include "job/suggest.h"
#include "job/text.h"
#include "job/yaml.h"
#include "job/yaml_values.h"

namespace corpgrid::job {
namespace {

constexpr size_t kMostMistakes = 50;

// Turns the tree of a job file into a JobFile and collects what is wrong with it. Every value has a
// path as in Problem; a value that was not understood is replaced by one that breaks no rule, so
// that a mistake does not cause others.
class JobFileReader {
 public:
  JobFileReader(const YamlNode& root, const std::string& file)
      : root_(root), folder_(std::filesystem::absolute(file).parent_path()) {}

  JobFile Read() {
    if (root_.kind != YamlNode::Kind::kMap) {
      Add(root_.at, "",
          fmt::format("expected keys and values, as in \"name: render\", got {}", Found(root_)));
      return {};
    }
    ReadMap(root_, "",
            {{"name",
              [&](const YamlNode& n) {
                Set(n, "name", TextOf(n), file_.fields.name, std::string("job"));
              }},
             {"bundle", [&](const YamlNode& n) { ReadBundle(n); }},
             {"run", [&](const YamlNode& n) { ReadRun(n); }},
             {"shards",
              [&](const YamlNode& n) { Set(n, "shards", NumberOf(n), file_.fields.shards, 1u); }},
             {"inputs", [&](const YamlNode& n) { ReadInputs(n); }},
             {"outputs", [&](const YamlNode& n) { ReadList(n, "outputs", file_.fields.outputs); }},
             {"env", [&](const YamlNode& n) { ReadEnv(n); }},
             {"resources", [&](const YamlNode& n) { ReadResources(n); }},
             {"redundancy", [&](const YamlNode& n) { ReadRedundancy(n); }},
             {"limits", [&](const YamlNode& n) { ReadLimits(n); }},
             {"retries",
              [&](const YamlNode& n) { Set(n, "retries", NumberOf(n), file_.fields.retries); }},
             {"checkpoint", [&](const YamlNode& n) { ReadCheckpoint(n); }}});
    CheckTogether();
    return std::move(file_);
  }

  std::vector<Mistake> TakeMistakes() { return std::move(mistakes_); }

 private:
  using Handlers = std::vector<std::pair<std::string, std::function<void(const YamlNode&)>>>;

  void Add(Position at, const std::string& path, std::string_view message) {
    broken_.insert(path);
    mistakes_.push_back(
        {at, path.empty() ? std::string(message) : fmt::format("{}: {}", path, message)});
  }

  // Calls the handler of each key.
  void ReadMap(const YamlNode& node, const std::string& path, const Handlers& handlers) {
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

  void UnknownKey(const YamlNode& key, const std::string& path,
                  const std::vector<std::string>& known) {
    // Nobody reads more than the first, and a suggestion costs time.
    if (mistakes_.size() >= kMostMistakes) return Add(key.at, "", "unknown key");
    const Suggestion suggestion = SuggestKey(key.text, path, known);
    Add(key.at, "", suggestion.message);
    broken_.insert(suggestion.path);
  }

  // Calls `visit` for each key of a map that is a text and there for the first time.
  void ForEachKey(const YamlNode& node, const std::string& path, std::string_view expected,
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

  static std::string Join(const std::string& path, const std::string& key) {
    return path.empty() ? key : fmt::format("{}.{}", path, key);
  }

  // Sets `target` to what was understood, else says why not and sets the stand-in.
  template <typename T>
  bool Set(const YamlNode& node, const std::string& path, absl::StatusOr<T> value, T& target,
           T stand_in = {}) {
    if (value.ok()) {
      target = *std::move(value);
      return true;
    }
    Add(node.at, path, std::string(value.status().message()));
    target = std::move(stand_in);
    return false;
  }

  void ReadList(const YamlNode& node, const std::string& path, std::vector<std::string>& texts) {
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

  void ReadRun(const YamlNode& node) {
    if (node.kind == YamlNode::Kind::kText) {
      return Add(node.at, "run",
                 fmt::format("expected {{command: [...]}}, got {}; write it as {{command: {}}}",
                             Found(node), SuggestCommand(node.text)));
    }
    if (node.kind == YamlNode::Kind::kList) {
      return Add(node.at, "run",
                 "expected {command: [...]}, got a list; write \"command:\" before it");
    }
    ReadMap(node, "run", {{"command", [&](const YamlNode& n) { ReadCommand(n); }}});
  }

  void ReadCommand(const YamlNode& node) {
    if (node.kind != YamlNode::Kind::kText) {
      return ReadList(node, "run.command", file_.fields.command);
    }
    Add(node.at, "run.command",
        fmt::format("expected a list (no shell reads the command), got {}; write it as {}",
                    Found(node), SuggestCommand(node.text)));
  }

  void ReadEnv(const YamlNode& node) {
    ForEachKey(node, "env", "names and values, as in {SAMPLES: \"64\"}",
               [&](const YamlNode& key, const YamlNode& value) {
                 Set(value, Join("env", key.text), TextOf(value), file_.fields.env[key.text]);
               });
  }

  void ReadResources(const YamlNode& node) {
    Resources& to = file_.fields.resources;
    ReadMap(
        node, "resources",
        {{"cpus", [&](const YamlNode& n) { Set(n, "resources.cpus", NumberOf(n), to.cpus, 1u); }},
         {"memory",
          [&](const YamlNode& n) { Set(n, "resources.memory", BytesOf(n), to.memory_bytes); }},
         {"vram", [&](const YamlNode& n) { Set(n, "resources.vram", BytesOf(n), to.vram_bytes); }},
         {"backend", [&](const YamlNode& n) { ReadBackends(n); }}});
  }

  void ReadBackends(const YamlNode& node) {
    std::vector<Backend>& backends = file_.fields.resources.backends;
    backends.clear();
    if (node.kind != YamlNode::Kind::kList) {
      Add(node.at, "resources.backend",
          fmt::format("expected a list of the backends that will do, as in [{}], got {}",
                      node.kind == YamlNode::Kind::kText ? QuoteYaml(node.text) : "cuda, vulkan",
                      Found(node)));
    }
    for (size_t i = 0; node.kind == YamlNode::Kind::kList && i < node.items.size(); ++i) {
      size_t choice = 0;
      const YamlNode& item = node.items[i];
      if (Set(item, fmt::format("resources.backend[{}]", i), ChoiceOf(item, Names(Backend::kMetal)),
              choice)) {
        backends.push_back(static_cast<Backend>(choice));
      } else {
        broken_.insert("resources.backend");
      }
    }
    // An unknown backend may well be a GPU, so that `vram` is no mistake.
    if (broken_.contains("resources.backend")) backends = {Backend::kCuda};
  }

  // The names of a choice, whose values count from 0 to `last`.
  template <typename Enum>
  static std::vector<std::string> Names(Enum last) {
    std::vector<std::string> names;
    for (size_t i = 0; i <= static_cast<size_t>(last); ++i) {
      names.emplace_back(ToText(static_cast<Enum>(i)));
    }
    return names;
  }

  void ReadRedundancy(const YamlNode& node) {
    Redundancy& to = file_.fields.redundancy;
    size_t distinct = static_cast<size_t>(to.distinct);
    bool replicas = false, quorum = false;
    ReadMap(node, "redundancy",
            {{"replicas",
              [&](const YamlNode& n) {
                replicas = true;
                Set(n, "redundancy.replicas", NumberOf(n), to.replicas, JobSpec::kMaxReplicas);
              }},
             {"quorum",
              [&](const YamlNode& n) {
                quorum = true;
                Set(n, "redundancy.quorum", NumberOf(n), to.quorum, 1u);
              }},
             {"validator", [&](const YamlNode& n) { ReadValidator(n); }},
             {"distinct", [&](const YamlNode& n) {
                Set(n, "redundancy.distinct", ChoiceOf(n, Names(Distinct::kDevice)), distinct);
              }}});
    to.distinct = static_cast<Distinct>(distinct);
    // Who asks for copies wants them compared.
    if (replicas && !quorum) to.quorum = to.replicas / 2 + 1;
    if (quorum && !replicas) to.replicas = std::max(to.replicas, to.quorum);
  }

  void ReadValidator(const YamlNode& node) {
    if (node.text == "numeric" || node.text == "program") {
      return Add(
          node.at, "redundancy.validator",
          fmt::format("{} is not supported yet, only exact (equal bytes) is", Quote(node.text)));
    }
    size_t validator = 0;
    Set(node, "redundancy.validator", ChoiceOf(node, Names(Validator::kExact)), validator);
    file_.fields.redundancy.validator = static_cast<Validator>(validator);
  }

  void ReadLimits(const YamlNode& node) {
    Limits& to = file_.fields.limits;
    ReadMap(
        node, "limits",
        {{"wall", [&](const YamlNode& n) { Set(n, "limits.wall", DurationOf(n), to.wall_ms); }},
         {"output",
          [&](const YamlNode& n) { Set(n, "limits.output", BytesOf(n), to.output_bytes); }},
         {"disk", [&](const YamlNode& n) { Set(n, "limits.disk", BytesOf(n), to.disk_bytes); }},
         {"processes",
          [&](const YamlNode& n) { Set(n, "limits.processes", NumberOf(n), to.processes); }},
         {"network", [&](const YamlNode& n) { Set(n, "limits.network", BoolOf(n), to.network); }}});
    if (broken_.contains("limits.output") || broken_.contains("limits.disk")) return;
    // The outputs lie in the work folder: a limit that was left out follows the other.
    const bool output = marks_.contains("limits.output");
    const bool disk = marks_.contains("limits.disk");
    if (!disk) to.disk_bytes = std::max(to.disk_bytes, to.output_bytes);
    if (!output) to.output_bytes = std::min(to.disk_bytes, to.output_bytes);
    if (to.output_bytes > to.disk_bytes) {
      Add(marks_["limits.output"], "limits.output",
          fmt::format("{} of outputs do not fit into limits.disk ({}), which holds them too",
                      FormatBytes(to.output_bytes), FormatBytes(to.disk_bytes)));
    }
  }

  void ReadCheckpoint(const YamlNode& node) {
    const Checkpoint usual;
    Checkpoint& to = file_.fields.checkpoint.emplace();
    if (node.kind == YamlNode::Kind::kText) {
      return Add(
          node.at, "checkpoint",
          fmt::format("expected {{folder: {}, every: 1min}}, got {}", usual.folder, Found(node)));
    }
    ReadMap(node, "checkpoint",
            {{"folder",
              [&](const YamlNode& n) {
                Set(n, "checkpoint.folder", TextOf(n), to.folder, usual.folder);
              }},
             {"every", [&](const YamlNode& n) {
                Set(n, "checkpoint.every", DurationOf(n), to.every_ms, usual.every_ms);
              }}});
  }

  void ReadBundle(const YamlNode& node) {
    std::string text;
    if (!Set(node, "bundle", PathOf(node, "a folder, as in ./scene"), text)) return;
    const std::filesystem::path path = (folder_ / text).lexically_normal();
    std::error_code error;
    const auto type = std::filesystem::status(path, error).type();
    const std::string quoted = Quote(path.native());
    if (type == std::filesystem::file_type::not_found) {
      Add(node.at, "bundle",
          fmt::format("there is no folder {}{}", quoted, DidYouMean(SuggestFolder(path))));
    } else if (error) {
      Add(node.at, "bundle", fmt::format("cannot look at {}: {}", quoted, error.message()));
    } else if (type != std::filesystem::file_type::directory) {
      Add(node.at, "bundle", fmt::format("expected a folder, but {} is none", quoted));
    }
    file_.bundle_path = path.native();
  }

  void ReadInputs(const YamlNode& node) {
    std::string text;
    if (!Set(node, "inputs", PathOf(node, "a pattern, as in \"frames/*.exr\""), text)) return;
    // The folder's own name is no pattern, whatever it holds.
    std::string folder;
    for (const char c : folder_.native()) {
      if (std::string_view("*?[]\\").find(c) != std::string_view::npos) folder += '\\';
      folder += c;
    }
    file_.inputs_pattern = text.starts_with('/') ? text : fmt::format("{}/{}", folder, text);
  }

  // The rules of the spec, and those between keys.
  void CheckTogether() {
    const bool has_inputs = marks_.contains("inputs") || broken_.contains("inputs");
    if (marks_.contains("inputs") && marks_.contains("shards")) {
      Add(std::max(marks_["inputs"], marks_["shards"]), "shards",
          "a job has either \"shards:\" or \"inputs:\" (one shard a file), not both");
    }
    JobFields checked = file_.fields;
    if (has_inputs) {
      checked.inputs = {{"file", {}, 0}};
      checked.shards = 1;
    }
    for (const Problem& problem : Problems(checked)) AddProblem(problem);
  }

  void AddProblem(const Problem& problem) {
    // The place of the value, or of the nearest thing around it that the file has.
    std::string path = problem.path;
    Position at = root_.at;
    while (!path.empty()) {
      if (broken_.contains(path)) return;
      if (const auto mark = marks_.find(path); mark != marks_.end()) {
        at = mark->second;
        break;
      }
      path.resize(std::min(
          path.size(), path.find_last_of(".[") == std::string::npos ? 0 : path.find_last_of(".[")));
    }
    mistakes_.push_back({at, fmt::format("{}: {}", problem.path, problem.message)});
  }

  const YamlNode& root_;
  const std::filesystem::path folder_;
  JobFile file_;
  std::map<std::string, Position> marks_;
  std::set<std::string> broken_;  // paths that have a mistake already
  std::vector<Mistake> mistakes_;
};

absl::Status ToStatus(std::vector<Mistake> mistakes, std::string_view text,
                      const std::string& file) {
  std::stable_sort(mistakes.begin(), mistakes.end(),
                   [](const Mistake& a, const Mistake& b) { return a.at < b.at; });
  const Lines lines(text);
  std::string message;
  for (size_t i = 0; i < std::min(mistakes.size(), kMostMistakes); ++i) {
    const auto& [at, what] = mistakes[i];
    message += fmt::format("{}{}:{}:{}: {}", i == 0 ? "" : "\n", file, at.line, lines.Column(at),
                           Printable(what));
  }
  if (mistakes.size() > kMostMistakes) {
    message += fmt::format("\n{}: and {} more", file, mistakes.size() - kMostMistakes);
  }
  return absl::InvalidArgumentError(message);
}

}  // namespace

absl::StatusOr<JobFile> ParseJobFile(std::string_view text, const std::string& file) {
  Document document = ParseYaml(text);
  if (!document.root) return ToStatus(std::move(document.mistakes), text, file);
  JobFileReader reader(*document.root, file);
  JobFile job = reader.Read();
  std::vector<Mistake> mistakes = reader.TakeMistakes();
  if (!mistakes.empty()) return ToStatus(std::move(mistakes), text, file);
  return job;
}

}  // namespace corpgrid::job
