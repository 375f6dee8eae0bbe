#include "job/job_file.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <utility>

#include "base/text.h"
#include "fmt/format.h"
#include "job/map_reader.h"
#include "job/suggest.h"
#include "job/text.h"
#include "job/yaml.h"
#include "job/yaml_values.h"

namespace corpgrid::job {
namespace {

// Turns the tree of a job file into a JobFile and collects what is wrong with it.
class JobFileReader : private MapReader {
 public:
  JobFileReader(const YamlNode& root, const std::string& file)
      : root_(root), folder_(std::filesystem::absolute(file).parent_path()) {}

  JobFile Read() {
    if (root_.kind != YamlNode::Kind::kMap) {
      Add(root_.at, "",
          fmt::format("expected keys and values, as in \"name: render\", got {}", Found(root_)));
      return {};
    }
    ReadMap(
        root_, "",
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
         {"checkpoint", [&](const YamlNode& n) { ReadCheckpoint(n); }},
         {"placement", [&](const YamlNode& n) { ReadPlacement(n); }},
         {"priority",
          [&](const YamlNode& n) { Set(n, "priority", SignedOf(n), file_.fields.priority); }},
         {"after", [&](const YamlNode& n) { ReadAfter(n); }},
         {"deadline",
          [&](const YamlNode& n) { Set(n, "deadline", DurationOf(n), file_.fields.deadline_ms); }},
         {"project", [&](const YamlNode& n) {
            Set(n, "project", TextOf(n), file_.fields.project, std::string(kDefaultProject));
          }}});
    CheckTogether();
    return std::move(file_);
  }

  using MapReader::TakeMistakes;

 private:
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
    bool replicas = false, quorum = false, max_error = false;
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
             {"max_error",
              [&](const YamlNode& n) {
                max_error = true;
                Set(n, "redundancy.max_error", FractionOf(n), to.max_error, 0.5);
                if (to.max_error == 0) {
                  Add(n.at, "redundancy.max_error",
                      "0 is promised by nobody; write how many wrong results will do, as in 1e-4");
                }
              }},
             {"distinct", [&](const YamlNode& n) {
                Set(n, "redundancy.distinct", ChoiceOf(n, Names(Distinct::kDevice)), distinct);
              }}});
    to.distinct = static_cast<Distinct>(distinct);
    // Who asks for copies wants them compared.
    if (replicas && !quorum) to.quorum = to.replicas / 2 + 1;
    if (quorum && !replicas) to.replicas = std::max(to.replicas, to.quorum);
    if (max_error && (replicas || quorum)) {  // A mistake, whatever they are.
      to.replicas = 2;
      to.quorum = 1;
    }
  }

  void ReadValidator(const YamlNode& node) {
    Redundancy& to = file_.fields.redundancy;
    if (node.kind != YamlNode::Kind::kMap) {
      if (node.text == ToText(Validator::kExact)) return;
      return Add(node.at, "redundancy.validator",
                 fmt::format("expected exact, {{numeric: text, relative: 1e-6}} or "
                             "{{command: [\"./compare\"]}}, got {}",
                             Found(node)));
    }
    size_t format = 0;
    bool numeric = false, program = false;
    ReadMap(node, "redundancy.validator",
            {{"numeric",
              [&](const YamlNode& n) {
                numeric = true;
                Set(n, "redundancy.validator.numeric", ChoiceOf(n, Names(NumberFormat::kF64)),
                    format);
              }},
             {"absolute",
              [&](const YamlNode& n) {
                Set(n, "redundancy.validator.absolute", FractionOf(n), to.tolerance.absolute);
              }},
             {"relative",
              [&](const YamlNode& n) {
                Set(n, "redundancy.validator.relative", FractionOf(n), to.tolerance.relative);
              }},
             {"command", [&](const YamlNode& n) {
                program = true;
                ReadList(n, "redundancy.validator.command", to.compare);
              }}});
    if (numeric == program) {
      return Add(node.at, "redundancy.validator",
                 "expected either \"numeric:\" (text, csv, json, f32 or f64) or \"command:\"");
    }
    to.tolerance.format = static_cast<NumberFormat>(format);
    to.validator = numeric ? Validator::kNumeric : Validator::kProgram;
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

  void ReadPlacement(const YamlNode& node) {
    Placement& to = file_.fields.placement;
    ReadMap(node, "placement",
            {{"labels", [&](const YamlNode& n) { ReadList(n, "placement.labels", to.labels); }},
             {"sites", [&](const YamlNode& n) { ReadList(n, "placement.sites", to.sites); }},
             {"attested",
              [&](const YamlNode& n) { Set(n, "placement.attested", BoolOf(n), to.attested); }}});
  }

  void ReadAfter(const YamlNode& node) {
    std::vector<uint64_t>& after = file_.fields.after;
    const bool one = node.kind == YamlNode::Kind::kText;
    if (!one && node.kind != YamlNode::Kind::kList) {
      return Add(node.at, "after",
                 fmt::format("expected the numbers of jobs, as in [12, 13], got {}", Found(node)));
    }
    for (const YamlNode& item : one ? std::vector<YamlNode>{node} : node.items) {
      const std::string path = one ? "after" : fmt::format("after[{}]", after.size());
      uint32_t id = 0;
      // The stand-ins differ, as in ReadList.
      Set(item, path, NumberOf(item), id, UINT32_MAX - static_cast<uint32_t>(after.size()));
      after.push_back(id);
    }
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
    // A limit that was left out follows the validator, too.
    const Redundancy& redundancy = file_.fields.redundancy;
    uint64_t& output_bytes = file_.fields.limits.output_bytes;
    if (redundancy.validator == Validator::kNumeric && !marks_.contains("limits.output")) {
      output_bytes = std::min(output_bytes, MostComparedBytes(redundancy.tolerance.format));
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
