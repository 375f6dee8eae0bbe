#include <algorithm>
#include <cmath>
#include <set>

#include "base/text.h"
#include "fmt/format.h"
#include "job/max_error_rules.h"
#include "job/order_rules.h"
#include "job/placement_rules.h"
#include "job/spec.h"
#include "job/suggest.h"
#include "job/text.h"

// What makes a job valid. docs/job-spec.md tells the users the same limits.
namespace corpgrid::job {
namespace {

constexpr size_t kMaxNameBytes = 128;
constexpr size_t kMaxArguments = 4096;
constexpr size_t kMaxVariables = 256;
constexpr size_t kMaxTextBytes = 32 << 10;
// All arguments, or all of the environment: both go to the runner in one packet of 128 KiB.
constexpr size_t kMaxCommandBytes = 48 << 10;
constexpr size_t kMaxOutputs = 64;
constexpr size_t kMaxPathBytes = 1024;
constexpr size_t kMaxFileNameBytes = 255;
constexpr uint32_t kMaxCpus = 1024;
constexpr uint64_t kMinBytes = 1ull << 20;
constexpr uint64_t kMaxBytes = 16ull << 40;
constexpr int64_t kMinWallMs = 100;
constexpr int64_t kMaxWallMs = 30 * 86'400'000ll;
constexpr uint32_t kMaxProcesses = 32'768;
constexpr uint32_t kMaxRetries = 100;
constexpr int64_t kMinCheckpointMs = 1000;
constexpr double kMaxAbsolute = 1e300;

class Rules {
 public:
  explicit Rules(const JobFields& fields) : fields_(fields) {}

  std::vector<Problem> Check() {
    Name();
    Command();
    Env();
    Shards();
    Outputs();
    Resources();
    Redundancy();
    Limits();
    Checkpoint();
    CheckOrder(fields_, &problems_);
    CheckMaxError(fields_, &problems_);
    CheckPlacement(fields_, &problems_);
    return std::move(problems_);
  }

 private:
  void Add(std::string path, std::string message) {
    problems_.push_back({std::move(path), std::move(message)});
  }

  void Between(std::string_view path, uint64_t value, uint64_t low, uint64_t high) {
    if (value < low || value > high) {
      Add(std::string(path),
          fmt::format("expected a number from {} to {}, got {}", low, high, value));
    }
  }

  void BytesBetween(std::string_view path, uint64_t value, uint64_t low) {
    if (value < low) {
      const std::string hint =
          value > 0 && value < 1 << 20 ? fmt::format("; did you mean {}MiB?", value) : "";
      Add(std::string(path), fmt::format("expected at least {}, got {}{}", FormatBytes(low),
                                         FormatBytes(value), hint));
    } else if (value > kMaxBytes) {
      Add(std::string(path),
          fmt::format("expected at most {}, got {}", FormatBytes(kMaxBytes), FormatBytes(value)));
    }
  }

  // Text that reaches a program, a file name or the wire.
  bool Text(const std::string& path, std::string_view text, size_t max_bytes) {
    const size_t before = problems_.size();
    if (text.size() > max_bytes) {
      Add(path, fmt::format("expected at most {} bytes, got {}", max_bytes, text.size()));
    }
    if (text.find('\0') != std::string_view::npos) Add(path, "a text may hold no NUL character");
    if (!IsUtf8(text)) Add(path, fmt::format("{} is not valid UTF-8", Quote(text)));
    return problems_.size() == before;
  }

  void Placeholders(const std::string& path, std::string_view text, bool is_output) {
    std::set<std::string> seen;
    const auto once = [&](std::string message) {
      if (seen.insert(message).second) Add(path, std::move(message));
    };
    for (const Piece& piece : CutPlaceholders(text)) {
      if (piece.kind == Piece::Kind::kUnknown) {
        once(UnknownPlaceholder(piece.text));
      } else if (piece.kind == Piece::Kind::kLoneBrace) {
        once(piece.text == "{" ? "a \"{\" without its \"}\"; for the brace itself write \"{{\""
                               : "a \"}\" without its \"{\"; for the brace itself write \"}}\"");
      } else if (piece.kind == Piece::Kind::kInput && is_output) {
        once(
            "{input} is the path of the input file and cannot be part of an output's name; "
            "use {shard}");
      } else if (piece.kind == Piece::Kind::kInput && fields_.inputs.empty()) {
        once(
            "{input} needs \"inputs:\", which this job does not have; with \"shards:\" use "
            "{shard}");
      }
    }
  }

  static std::string UnknownPlaceholder(std::string_view text) {
    const std::string inner(text.substr(1, text.size() - 2));
    const std::string nearest = SuggestWord(inner, {"shard", "shards", "input"});
    const std::string quoted = Quote(text);
    const std::string_view bare = std::string_view(quoted).substr(1, quoted.size() - 2);
    if (nearest.empty()) {
      return fmt::format(
          "unknown placeholder {}, expected {{shard}}, {{shards}} or {{input}}; for "
          "the braces themselves write \"{{{}}}\"",
          bare, bare);
    }
    return fmt::format("unknown placeholder {}; did you mean {{{}}}?", bare, nearest);
  }

  void Name() {
    if (fields_.name.empty()) return Add("name", "a job needs a name");
    if (!Text("name", fields_.name, kMaxNameBytes)) return;
    if (HasControls(fields_.name)) {
      Add("name", fmt::format("a name is one line of printable text, got {}", Quote(fields_.name)));
    } else if (fields_.name.front() == '@') {
      Add("name",
          fmt::format("names that begin with '@' are reserved, got {}", Quote(fields_.name)));
    }
  }

  void Command() {
    if (!Arguments("run.command", fields_.command)) return;
    for (size_t i = 0; i < fields_.command.size(); ++i) {
      Placeholders(fmt::format("run.command[{}]", i), fields_.command[i], false);
    }
  }

  // A command line, whatever may stand for something else in it.
  bool Arguments(const std::string& path, const std::vector<std::string>& command) {
    const size_t before = problems_.size();
    if (command.empty() || command[0].empty()) {
      Add(path, "expected a program and its arguments: [\"./program\", \"arg\"]");
    } else if (command.size() > kMaxArguments) {
      Add(path,
          fmt::format("expected at most {} arguments, got {}", kMaxArguments, command.size()));
    }
    if (problems_.size() > before) return false;
    size_t total = 0;
    for (size_t i = 0; i < command.size(); ++i) {
      total += command[i].size();
      Text(fmt::format("{}[{}]", path, i), command[i], kMaxTextBytes);
    }
    if (total > kMaxCommandBytes) {
      Add(path, fmt::format("the command has {} bytes, at most {} are allowed: put long texts into "
                            "files of the bundle",
                            total, kMaxCommandBytes));
    }
    return problems_.size() == before;
  }

  void Env() {
    if (fields_.env.size() > kMaxVariables) {
      return Add("env", fmt::format("expected at most {} variables, got {}", kMaxVariables,
                                    fields_.env.size()));
    }
    size_t total = 0;
    for (const auto& [name, value] : fields_.env) {
      const std::string path = fmt::format("env.{}", name);
      total += name.size() + value.size();
      const bool letters = std::all_of(name.begin(), name.end(), [](unsigned char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '_';
      });
      if (name.empty() || name.size() > kMaxFileNameBytes || !letters ||
          (name[0] >= '0' && name[0] <= '9')) {
        Add(path, fmt::format("the name of a variable has letters, digits and _, and begins with "
                              "no digit, got {}",
                              Quote(name)));
      } else if (name.starts_with("CORPGRID_")) {
        Add(path,
            fmt::format("variables that begin with CORPGRID_ are reserved, got {}", Quote(name)));
      }
      if (Text(path, value, kMaxTextBytes)) Placeholders(path, value, false);
    }
    if (total > kMaxCommandBytes) {
      Add("env", fmt::format("the environment has {} bytes, at most {} are allowed: put long texts "
                             "into files of the bundle",
                             total, kMaxCommandBytes));
    }
  }

  void Shards() {
    if (fields_.inputs.empty()) return Between("shards", fields_.shards, 1, JobSpec::kMaxShards);
    if (fields_.inputs.size() > JobSpec::kMaxInputs) {
      return Add("inputs", fmt::format("expected at most {} files, got {}", JobSpec::kMaxInputs,
                                       fields_.inputs.size()));
    }
    if (fields_.shards != fields_.inputs.size()) {
      Add("shards", fmt::format("a job with {} input files has as many shards, got {}",
                                fields_.inputs.size(), fields_.shards));
    }
    std::set<std::string_view> names;
    for (size_t i = 0; i < fields_.inputs.size(); ++i) {
      const std::string path = fmt::format("inputs[{}]", i);
      const std::string& name = fields_.inputs[i].name;
      if (!names.insert(name).second) {
        Add(path, fmt::format("two input files have the name {}", Quote(name)));
      }
      if (name.find('/') != std::string::npos) {
        Add(path, fmt::format("the name of an input is no path, got {}", Quote(name)));
      } else if (Text(path, name, kMaxFileNameBytes)) {
        Component(path, "the name of an input", name, name);
      }
    }
  }

  // One name between two slashes of a path.
  void Component(const std::string& path, std::string_view what, std::string_view component,
                 std::string_view whole) {
    if (component == "..") {
      Add(path, fmt::format("{} may not leave its folder (\"..\"), got {}", what, Quote(whole)));
    } else if (component.empty() || component == ".") {
      Add(path, fmt::format("{} is written like \"file\" or \"folder/file\", got {}", what,
                            Quote(whole)));
    } else if (component.size() > kMaxFileNameBytes) {
      Add(path, fmt::format("a file name has at most {} bytes, got {}", kMaxFileNameBytes,
                            component.size()));
    } else if (component.front() == '@' && component.data() == whole.data()) {
      Add(path, fmt::format("names that begin with '@' are reserved, got {}", Quote(whole)));
    }
    if (HasControls(component)) {
      Add(path, fmt::format("{} may hold no control characters, got {}", what, Quote(whole)));
    }
  }

  void Outputs() {
    if (fields_.outputs.size() > kMaxOutputs) {
      return Add("outputs",
                 fmt::format("expected at most {} outputs, got {}: pack many files into one (tar)",
                             kMaxOutputs, fields_.outputs.size()));
    }
    std::set<std::string_view> seen;
    for (size_t i = 0; i < fields_.outputs.size(); ++i) {
      const std::string path = fmt::format("outputs[{}]", i);
      const std::string_view output = fields_.outputs[i];
      if (!Text(path, output, kMaxPathBytes)) continue;
      if (!seen.insert(output).second) Add(path, fmt::format("{} is listed twice", Quote(output)));
      Placeholders(path, output, true);
      if (output.starts_with('/')) {
        Add(path,
            fmt::format("an output is a path relative to the work folder, got {}", Quote(output)));
        continue;
      }
      if (output.ends_with('/')) {
        Add(path, fmt::format("an output is one file, got the folder {}; pack it into one (tar)",
                              Quote(output)));
        continue;
      }
      size_t begin = 0;
      while (begin <= output.size()) {
        const size_t end = std::min(output.find('/', begin), output.size());
        const size_t before = problems_.size();
        Component(path, "an output", output.substr(begin, end - begin), output);
        if (problems_.size() > before) break;
        begin = end + 1;
      }
    }
  }

  void Resources() {
    const auto& resources = fields_.resources;
    Between("resources.cpus", resources.cpus, 1, kMaxCpus);
    BytesBetween("resources.memory", resources.memory_bytes, kMinBytes);
    BytesBetween("resources.vram", resources.vram_bytes, resources.vram_bytes == 0 ? 0 : kMinBytes);
    const std::set<Backend> backends(resources.backends.begin(), resources.backends.end());
    if (backends.empty()) {
      Add("resources.backend", "expected at least one of cpu, cuda, vulkan, opencl, metal");
    }
    if (backends.size() < resources.backends.size()) {
      Add("resources.backend", "a backend is listed twice");
    }
    if (resources.vram_bytes > 0 && backends == std::set{Backend::kCpu}) {
      Add("resources.vram", fmt::format("{} of video memory need a GPU: add the backends that will "
                                        "do, as in backend: [cuda, vulkan]",
                                        FormatBytes(resources.vram_bytes)));
    }
  }

  void Redundancy() {
    const auto& redundancy = fields_.redundancy;
    Between("redundancy.replicas", redundancy.replicas, 1, JobSpec::kMaxReplicas);
    if (redundancy.quorum < 1) {
      Add("redundancy.quorum", "expected at least 1 equal result, got 0");
    } else if (redundancy.quorum > redundancy.replicas) {
      Add("redundancy.quorum",
          fmt::format("{} equal results can never come from {} {}: raise replicas or lower quorum",
                      redundancy.quorum, redundancy.replicas,
                      redundancy.replicas == 1 ? "replica" : "replicas"));
    }
    if (redundancy.validator != Validator::kExact) Comparison();
  }

  // What a validator that looks into the outputs needs.
  void Comparison() {
    const auto& redundancy = fields_.redundancy;
    if (redundancy.quorum == 1 && redundancy.max_error == 0) {
      Add("redundancy.quorum",
          "a quorum of 1 compares nothing: raise it, or leave the validator out");
    }
    if (fields_.outputs.empty()) {
      Add("redundancy.validator", "there is nothing to compare: this job has no outputs");
    }
    if (redundancy.validator == Validator::kProgram) {
      Arguments("redundancy.validator.command", redundancy.compare);
      return;
    }
    const Tolerance& tolerance = redundancy.tolerance;
    Distance("absolute", tolerance.absolute, kMaxAbsolute);
    Distance("relative", tolerance.relative, 1);
    const uint64_t most = MostComparedBytes(tolerance.format);
    if (fields_.limits.output_bytes > most) {
      Add("limits.output",
          fmt::format("outputs of this validator have at most {}, got {}", FormatBytes(most),
                      FormatBytes(fields_.limits.output_bytes)));
    }
  }

  void Distance(std::string_view key, double value, double most) {
    if (std::signbit(value) || !(value <= most)) {
      Add(fmt::format("redundancy.validator.{}", key),
          fmt::format("expected a number from 0 to {}, got {}", most, value));
    }
  }

  void Limits() {
    const auto& limits = fields_.limits;
    if (limits.wall_ms < kMinWallMs || limits.wall_ms > kMaxWallMs) {
      Add("limits.wall",
          fmt::format("expected a time from 100ms to 30d, got {}",
                      limits.wall_ms < 0 ? "a negative one" : FormatDuration(limits.wall_ms)));
    }
    BytesBetween("limits.output", limits.output_bytes, 0);
    BytesBetween("limits.disk", limits.disk_bytes, kMinBytes);
    Between("limits.processes", limits.processes, 1, kMaxProcesses);
    Between("retries", fields_.retries, 0, kMaxRetries);
  }

  void Checkpoint() {
    if (!fields_.checkpoint) return;
    const auto& [folder, every_ms] = *fields_.checkpoint;
    if (folder.find('/') != std::string::npos) {
      Add("checkpoint.folder",
          fmt::format("expected the name of a folder in the work folder, no path, got {}",
                      Quote(folder)));
    } else if (folder.find_first_of("{}") != std::string::npos) {
      Add("checkpoint.folder",
          fmt::format("a name without placeholders will do, each shard has a work folder of its "
                      "own; got {}",
                      Quote(folder)));
    } else if (Text("checkpoint.folder", folder, kMaxFileNameBytes)) {
      Component("checkpoint.folder", "the folder of checkpoints", folder, folder);
    }
    const std::vector<std::string>& outputs = fields_.outputs;
    if (std::find(outputs.begin(), outputs.end(), folder) != outputs.end()) {
      Add("checkpoint.folder",
          fmt::format("{} is an output, which is a file; choose another name", Quote(folder)));
    }
    if (every_ms < kMinCheckpointMs || every_ms > kMaxWallMs) {
      Add("checkpoint.every",
          fmt::format("expected a time from 1s to 30d, got {}",
                      every_ms < 0 ? "a negative one" : FormatDuration(every_ms)));
    }
  }

  const JobFields& fields_;
  std::vector<Problem> problems_;
};

}  // namespace

std::vector<Problem> Problems(const JobFields& fields) { return Rules(fields).Check(); }

}  // namespace corpgrid::job
