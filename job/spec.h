#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "crypto/hash.h"

namespace corpgrid::job {

enum class Backend : uint8_t { kCpu, kCuda, kVulkan, kOpenCl, kMetal };
enum class Validator : uint8_t { kExact, kNumeric, kProgram };
enum class NumberFormat : uint8_t { kText, kCsv, kJson, kF32, kF64 };
enum class Distinct : uint8_t { kOwner, kDevice };

std::string_view ToText(Backend backend);
std::string_view ToText(Validator validator);
std::string_view ToText(NumberFormat format);
std::string_view ToText(Distinct distinct);

// One file of an `inputs:` job; shard i reads inputs[i].
struct Input {
  std::string name;  // one path component, unique in the job
  crypto::Hash hash;
  uint64_t size_bytes = 0;

  bool operator==(const Input&) const = default;
};

struct Resources {
  uint32_t cpus = 1;
  uint64_t memory_bytes = 512ull << 20;
  uint64_t vram_bytes = 0;
  std::vector<Backend> backends = {Backend::kCpu};  // any of these will do

  bool operator==(const Resources&) const = default;
};

// How far the numbers of two results may be apart (job/closeness.h).
struct Tolerance {
  NumberFormat format = NumberFormat::kText;  // of every output; arrays are little-endian
  double absolute = 0;
  double relative = 0;

  bool operator==(const Tolerance&) const = default;
};

// What may be compared in memory: all outputs of a shard together.
constexpr uint64_t MostComparedBytes(NumberFormat format) {
  return format == NumberFormat::kJson ? 16ull << 20 : 256ull << 20;
}

struct Redundancy {
  uint32_t replicas = 1;  // copies of a shard that run from the start
  uint32_t quorum = 1;    // equal results of distinct owners that decide it; <= replicas
  Validator validator = Validator::kExact;
  Distinct distinct = Distinct::kOwner;
  Tolerance tolerance = {};  // kNumeric
  // kProgram: argv, to which the paths of two folders with a result's outputs each are added.
  std::vector<std::string> compare = {};
  // The largest share of wrong results that the job may end with (95 % sure), in place of replicas
  // and quorum; 0: not asked for.
  double max_error = 0;

  bool operator==(const Redundancy&) const = default;
};

struct Limits {
  int64_t wall_ms = 3'600'000;
  uint64_t output_bytes = 64ull << 20;  // all outputs of one shard together
  uint64_t disk_bytes = 256ull << 20;   // the work folder, outputs included
  uint32_t processes = 256;
  bool network = false;

  bool operator==(const Limits&) const = default;
};

// A folder of the work folder that is saved while a shard runs, so that another device can go on
// from it.
struct Checkpoint {
  std::string folder = "state";  // one path component
  int64_t every_ms = 60'000;

  bool operator==(const Checkpoint&) const = default;
};

// Which devices may run the job, of those that can.
struct Placement {
  std::vector<std::string> labels;  // that a device must have, all of them; in order
  std::vector<std::string> sites;   // where it may stand; in order, none: anywhere
  bool attested = false;            // its agent has to be a program that the operator knows

  bool operator==(const Placement&) const = default;
};

// Whose jobs are those that name no project; it is always there.
inline constexpr std::string_view kDefaultProject = "default";

// What a job asks for, before anyone checked it.
struct JobFields {
  std::string name;
  std::vector<std::string> command;  // argv; {shard}, {shards} and {input} stand for their values
  std::map<std::string, std::string> env;  // values may use the same placeholders
  uint32_t shards = 1;
  std::vector<Input> inputs;  // empty, or one a shard
  std::vector<std::string>
      outputs;  // relative paths, collected when the command ends with status 0
  Resources resources;
  Redundancy redundancy;
  Limits limits;
  uint32_t retries = 3;
  std::optional<Checkpoint> checkpoint;
  int32_t priority = 0;         // higher ones go first
  std::vector<uint64_t> after;  // ids of jobs that must be done before it begins
  int64_t deadline_ms = 0;      // since its submission; 0: none
  std::string project = std::string(kDefaultProject);  // whose share and quotas it counts against
  Placement placement = {};

  bool operator==(const JobFields&) const = default;
};

// A valid job: one that exists has passed every rule (see Problems). Immutable; any thread.
class JobSpec {
 public:
  static constexpr uint32_t kMaxShards = 10'000'000;
  static constexpr uint32_t kMaxReplicas = 16;
  static constexpr size_t kMaxInputs = 100'000;
  static constexpr size_t kMaxAfter = 1'000;
  static constexpr uint32_t kMaxShardsWithMaxError = 100'000;  // all are held until its end
  static constexpr int32_t kMaxPriority = 1'000;               // and the lowest is its negative
  static constexpr size_t kMaxProjectBytes = 64;
  static constexpr size_t kMaxLabels = 32;  // and sites

  // Errors: InvalidArgument with every broken rule, one a line.
  static absl::StatusOr<JobSpec> Make(JobFields fields);

  // The canonical encoding that the submitter signs: the same spec has the same bytes everywhere.
  std::string Encode() const;
  // Reads Encode()'s bytes and applies Make()'s rules. Errors: InvalidArgument.
  static absl::StatusOr<JobSpec> Decode(std::string_view bytes);

  // The protocol version (base/version.h) from which on programs read Encode()'s bytes: not to be
  // sent to an older one.
  uint32_t Protocol() const;

  const JobFields& operator*() const { return fields_; }
  const JobFields* operator->() const { return &fields_; }
  bool operator==(const JobSpec&) const = default;

 private:
  explicit JobSpec(JobFields fields) : fields_(std::move(fields)) {}
  JobFields fields_;
};

// One broken rule and the YAML path it is about ("limits.wall", "run.command[1]").
struct Problem {
  std::string path;
  std::string message;
};

// Every broken rule of `fields`; empty when the job is valid.
std::vector<Problem> Problems(const JobFields& fields);

// What is wrong with `name` as the name of a project; empty when nothing is. Letters, digits and
// "-_.", so that it needs no quotes anywhere.
std::string ProjectNameProblem(std::string_view name);

// What is wrong with `label` as a device's label ("fast-disk", "os=debian12"); empty when nothing
// is. Letters, digits and "-_./=", so that it needs no quotes anywhere.
std::string LabelProblem(std::string_view label);

// `text` with {shard}, {shards} and {input} replaced; "{{" and "}}" stand for braces. `fields` must
// be valid.
std::string Expand(std::string_view text, const JobFields& fields, uint32_t shard);

// Where an input file appears to the command.
inline constexpr std::string_view kInputFolder = "/input";

}  // namespace corpgrid::job
