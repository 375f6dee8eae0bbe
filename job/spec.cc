#include "job/spec.h"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

#include "base/status_macros.h"
#include "crypto/encoding.h"
#include "fmt/format.h"
#include "job/text.h"

namespace corpgrid::job {
namespace {

constexpr std::string_view kDomain = "corpgrid job spec";
// A spec has the oldest version that can say what it asks for: its bytes and its hash stay what
// they were, and a program too old for it says so. Version 2 has `checkpoint` at its end, version 3
// behind it what a validator other than kExact needs, and when the job runs, version 4 its project,
// `max_error` and its placement.
constexpr uint32_t kVersion = 1;
constexpr uint32_t kVersionWithCheckpoint = 2;
constexpr uint32_t kVersionWithOrder = 3;
constexpr uint32_t kNewestVersion = 4;

// More than any rule allows; the rules give the better message for what is below.
constexpr uint64_t kMaxItems = 10'000;

constexpr std::array<std::string_view, 5> kBackendNames = {"cpu", "cuda", "vulkan", "opencl",
                                                           "metal"};
constexpr std::array<std::string_view, 3> kValidatorNames = {"exact", "numeric", "program"};
constexpr std::array<std::string_view, 5> kFormatNames = {"text", "csv", "json", "f32", "f64"};
constexpr std::array<std::string_view, 2> kDistinctNames = {"owner", "device"};

// Reads numbers that must fit a smaller type than the eight bytes they have in the encoding.
class Reader {
 public:
  Reader(std::string_view bytes, uint32_t version) : decoder_(bytes, kDomain, version) {}

  std::string Text() { return std::string(decoder_.Text()); }
  uint64_t Number() { return decoder_.Number(); }
  int64_t Signed() { return decoder_.Signed(); }
  uint64_t Count(uint64_t limit) { return decoder_.Count(limit); }
  uint32_t Number32() { return static_cast<uint32_t>(decoder_.Count(UINT32_MAX)); }
  int32_t Signed32() {
    const int64_t number = decoder_.Signed();
    if (number < INT32_MIN || number > INT32_MAX) {
      status_ = absl::InvalidArgumentError("malformed encoding: a number is too large");
    }
    return static_cast<int32_t>(number);
  }
  bool Bool() { return decoder_.Count(1) != 0; }
  template <typename Enum, size_t kSize>
  Enum Choice(const std::array<std::string_view, kSize>&) {
    return static_cast<Enum>(decoder_.Count(kSize - 1));
  }
  crypto::Hash Hash() {
    const absl::StatusOr<crypto::Hash> hash = crypto::Hash::FromRaw(decoder_.Text());
    if (!hash.ok() && status_.ok()) status_ = hash.status();
    return hash.value_or(crypto::Hash());
  }
  bool ok() const { return decoder_.ok() && status_.ok(); }
  absl::Status Finish() const {
    RETURN_IF_ERROR(decoder_.Finish());
    return status_;
  }

 private:
  crypto::Decoder decoder_;
  absl::Status status_;
};

std::vector<std::string> ReadTexts(Reader& reader) {
  std::vector<std::string> texts;
  for (uint64_t left = reader.Count(kMaxItems); left > 0 && reader.ok(); --left) {
    texts.push_back(reader.Text());
  }
  return texts;
}

// What to read `bytes` as. Of bytes of no version that we know, reading them as the newest tells.
uint32_t VersionOf(std::string_view bytes) {
  for (const uint32_t version : {kVersion, kVersionWithCheckpoint, kVersionWithOrder}) {
    if (crypto::Decoder(bytes, kDomain, version).ok()) return version;
  }
  return kNewestVersion;
}

// The oldest that can say what `fields` ask for.
uint32_t VersionFor(const JobFields& fields) {
  if (fields.project != kDefaultProject || fields.redundancy.max_error != 0 ||
      fields.placement != Placement()) {
    return kNewestVersion;
  }
  if (fields.redundancy.validator != Validator::kExact || fields.priority != 0 ||
      !fields.after.empty() || fields.deadline_ms != 0) {
    return kVersionWithOrder;
  }
  return fields.checkpoint ? kVersionWithCheckpoint : kVersion;
}

JobFields ReadFields(Reader& reader, uint32_t version) {
  JobFields fields;
  fields.name = reader.Text();
  fields.command = ReadTexts(reader);
  for (uint64_t left = reader.Count(kMaxItems); left > 0 && reader.ok(); --left) {
    std::string name = reader.Text();
    fields.env.emplace(std::move(name), reader.Text());
  }
  fields.shards = reader.Number32();
  for (uint64_t left = reader.Count(JobSpec::kMaxInputs); left > 0 && reader.ok(); --left) {
    Input& input = fields.inputs.emplace_back();
    input.name = reader.Text();
    input.hash = reader.Hash();
    input.size_bytes = reader.Number();
  }
  fields.outputs = ReadTexts(reader);
  fields.resources.cpus = reader.Number32();
  fields.resources.memory_bytes = reader.Number();
  fields.resources.vram_bytes = reader.Number();
  fields.resources.backends.clear();
  for (uint64_t left = reader.Count(kBackendNames.size()); left > 0 && reader.ok(); --left) {
    fields.resources.backends.push_back(reader.Choice<Backend>(kBackendNames));
  }
  fields.redundancy.replicas = reader.Number32();
  fields.redundancy.quorum = reader.Number32();
  fields.redundancy.validator = reader.Choice<Validator>(kValidatorNames);
  fields.redundancy.distinct = reader.Choice<Distinct>(kDistinctNames);
  fields.limits.wall_ms = reader.Signed();
  fields.limits.output_bytes = reader.Number();
  fields.limits.disk_bytes = reader.Number();
  fields.limits.processes = reader.Number32();
  fields.limits.network = reader.Bool();
  fields.retries = reader.Number32();
  if (version == kVersionWithCheckpoint || (version > kVersionWithCheckpoint && reader.Bool())) {
    fields.checkpoint.emplace();
    fields.checkpoint->folder = reader.Text();
    fields.checkpoint->every_ms = reader.Signed();
  }
  if (version >= kVersionWithOrder) {
    Tolerance& tolerance = fields.redundancy.tolerance;
    tolerance.format = reader.Choice<NumberFormat>(kFormatNames);
    tolerance.absolute = std::bit_cast<double>(reader.Number());
    tolerance.relative = std::bit_cast<double>(reader.Number());
    fields.redundancy.compare = ReadTexts(reader);
    fields.priority = reader.Signed32();
    for (uint64_t left = reader.Count(JobSpec::kMaxAfter); left > 0 && reader.ok(); --left) {
      fields.after.push_back(reader.Number());
    }
    fields.deadline_ms = reader.Signed();
  }
  if (version == kNewestVersion) {
    fields.project = reader.Text();
    fields.redundancy.max_error = std::bit_cast<double>(reader.Number());
    fields.placement.labels = ReadTexts(reader);
    fields.placement.sites = ReadTexts(reader);
    fields.placement.attested = reader.Bool();
  }
  return fields;
}

}  // namespace

std::string_view ToText(Backend backend) { return kBackendNames.at(static_cast<size_t>(backend)); }
std::string_view ToText(Validator validator) {
  return kValidatorNames.at(static_cast<size_t>(validator));
}
std::string_view ToText(NumberFormat format) {
  return kFormatNames.at(static_cast<size_t>(format));
}
std::string_view ToText(Distinct distinct) {
  return kDistinctNames.at(static_cast<size_t>(distinct));
}

absl::StatusOr<JobSpec> JobSpec::Make(JobFields fields) {
  constexpr size_t kMostShown = 20;
  const std::vector<Problem> problems = Problems(fields);
  std::string message;
  for (size_t i = 0; i < std::min(problems.size(), kMostShown); ++i) {
    message += fmt::format("{}{}: {}", i == 0 ? "" : "\n", problems[i].path, problems[i].message);
  }
  if (problems.size() > kMostShown) {
    message += fmt::format("\nand {} more", problems.size() - kMostShown);
  }
  if (!problems.empty()) return absl::InvalidArgumentError(message);
  // Any of them will do, so their order says nothing and must not change the bytes.
  std::sort(fields.resources.backends.begin(), fields.resources.backends.end());
  std::sort(fields.placement.labels.begin(), fields.placement.labels.end());
  std::sort(fields.placement.sites.begin(), fields.placement.sites.end());
  // Nor what another validator would need.
  Redundancy& redundancy = fields.redundancy;
  if (redundancy.validator != Validator::kNumeric) redundancy.tolerance = {};
  if (redundancy.validator != Validator::kProgram) redundancy.compare.clear();
  return JobSpec(std::move(fields));
}

std::string JobSpec::Encode() const {
  const uint32_t version = VersionFor(fields_);
  crypto::Encoder encoder(kDomain, version);
  const auto add_texts = [&](const std::vector<std::string>& texts) {
    encoder.Add(uint64_t{texts.size()});
    for (const std::string& text : texts) encoder.Add(text);
  };
  encoder.Add(fields_.name);
  add_texts(fields_.command);
  encoder.Add(uint64_t{fields_.env.size()});
  for (const auto& [name, value] : fields_.env) encoder.Add(name).Add(value);
  encoder.Add(uint64_t{fields_.shards});
  encoder.Add(uint64_t{fields_.inputs.size()});
  for (const Input& input : fields_.inputs) {
    encoder.Add(input.name).Add(input.hash.Raw()).Add(input.size_bytes);
  }
  add_texts(fields_.outputs);
  const Resources& resources = fields_.resources;
  encoder.Add(uint64_t{resources.cpus}).Add(resources.memory_bytes).Add(resources.vram_bytes);
  encoder.Add(uint64_t{resources.backends.size()});
  for (const Backend backend : resources.backends) encoder.Add(static_cast<uint64_t>(backend));
  const Redundancy& redundancy = fields_.redundancy;
  encoder.Add(uint64_t{redundancy.replicas}).Add(uint64_t{redundancy.quorum});
  encoder.Add(static_cast<uint64_t>(redundancy.validator));
  encoder.Add(static_cast<uint64_t>(redundancy.distinct));
  const Limits& limits = fields_.limits;
  encoder.AddSigned(limits.wall_ms).Add(limits.output_bytes).Add(limits.disk_bytes);
  encoder.Add(uint64_t{limits.processes}).AddSigned(limits.network);
  encoder.Add(uint64_t{fields_.retries});
  if (version > kVersionWithCheckpoint) encoder.AddSigned(fields_.checkpoint.has_value());
  if (fields_.checkpoint) {
    encoder.Add(fields_.checkpoint->folder).AddSigned(fields_.checkpoint->every_ms);
  }
  if (version >= kVersionWithOrder) {
    const Tolerance& tolerance = redundancy.tolerance;
    encoder.Add(static_cast<uint64_t>(tolerance.format))
        .Add(std::bit_cast<uint64_t>(tolerance.absolute))
        .Add(std::bit_cast<uint64_t>(tolerance.relative));
    add_texts(redundancy.compare);
    encoder.AddSigned(fields_.priority).Add(uint64_t{fields_.after.size()});
    for (const uint64_t id : fields_.after) encoder.Add(id);
    encoder.AddSigned(fields_.deadline_ms);
  }
  if (version == kNewestVersion) {
    encoder.Add(fields_.project).Add(std::bit_cast<uint64_t>(redundancy.max_error));
    add_texts(fields_.placement.labels);
    add_texts(fields_.placement.sites);
    encoder.AddSigned(fields_.placement.attested);
  }
  return encoder.bytes();
}

// Programs of protocol version 1 read another version 4, or none.
uint32_t JobSpec::Protocol() const { return VersionFor(fields_) <= kVersionWithOrder ? 1 : 2; }

absl::StatusOr<JobSpec> JobSpec::Decode(std::string_view bytes) {
  const uint32_t version = VersionOf(bytes);
  Reader reader(bytes, version);
  JobFields fields = ReadFields(reader, version);
  RETURN_IF_ERROR(reader.Finish());
  ASSIGN_OR_RETURN(JobSpec spec, Make(std::move(fields)));
  // Two encodings of one spec would have two hashes.
  if (spec.Encode() != bytes) {
    return absl::InvalidArgumentError("malformed encoding: not the canonical one of this spec");
  }
  return spec;
}

std::string Expand(std::string_view text, const JobFields& fields, uint32_t shard) {
  std::string expanded;
  for (const Piece& piece : CutPlaceholders(text)) {
    switch (piece.kind) {
      case Piece::Kind::kShard:
        expanded += std::to_string(shard);
        break;
      case Piece::Kind::kShards:
        expanded += std::to_string(fields.shards);
        break;
      case Piece::Kind::kInput:
        expanded += fmt::format("{}/{}", kInputFolder, fields.inputs.at(shard).name);
        break;
      default:
        expanded += piece.text;
    }
  }
  return expanded;
}

}  // namespace corpgrid::job
