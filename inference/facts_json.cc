#include "inference/facts_json.h"

#include <limits>
#include <type_traits>

#include "fmt/format.h"

namespace corpgrid::inference {
namespace {

// Each struct's fields, once for both directions.
template <typename Facts, typename Visit>
void VisitFacts(Facts& facts, Visit visit) {
  visit("name", facts.name);
  visit("architecture", facts.architecture);
  visit("quantisation", facts.quantisation);
  visit("parameters", facts.parameters);
  visit("weight_bytes", facts.weight_bytes);
  visit("trained_context", facts.trained_context);
  visit("layers", facts.layers);
  visit("embedding", facts.embedding);
  visit("heads", facts.heads);
  visit("kv_heads", facts.kv_heads);
  visit("vocabulary", facts.vocabulary);
  visit("chat_template", facts.chat_template);
  visit("reuses_prefixes", facts.reuses_prefixes);
  visit("only_embeds", facts.only_embeds);
}

template <typename Compatible, typename Visit>
void VisitCompatibility(Compatible& compatibility, Visit visit) {
  visit("loads", compatibility.loads);
  visit("generates", compatibility.generates);
  visit("embeds", compatibility.embeds);
  visit("tried", compatibility.tried);
  visit("problem", compatibility.problem);
  visit("library", compatibility.library);
}

template <typename Estimate, typename Visit>
void VisitEstimate(Estimate& estimate, Visit visit) {
  visit("weight_bytes", estimate.weight_bytes);
  visit("kv_bytes", estimate.kv_bytes);
  visit("compute_bytes", estimate.compute_bytes);
  visit("process_bytes", estimate.process_bytes);
  visit("gpu_bytes", estimate.gpu_bytes);
}

template <typename Device, typename Visit>
void VisitGpu(Device& gpu, Visit visit) {
  visit("name", gpu.name);
  visit("backend", gpu.backend);
  visit("description", gpu.description);
  visit("total_bytes", gpu.total_bytes);
  visit("free_bytes", gpu.free_bytes);
}

// Reads one field after the other and keeps the first trouble.
class Reader {
 public:
  explicit Reader(const Json& json) : json_(json) {
    if (!json.is_object()) status_ = absl::InvalidArgumentError("it is no JSON object");
  }

  template <typename Value>
  void operator()(const char* name, Value& value) {
    if (!status_.ok() || !json_.contains(name)) return;
    const Json& field = json_[name];
    bool fits = false;
    if constexpr (std::is_same_v<Value, std::string>) {
      fits = field.is_string();
    } else if constexpr (std::is_same_v<Value, bool>) {
      fits = field.is_boolean();
    } else {
      fits =
          field.is_number_unsigned() && field.get<uint64_t>() <= std::numeric_limits<Value>::max();
    }
    if (fits) {
      field.get_to(value);
    } else {
      status_ = absl::InvalidArgumentError(fmt::format("\"{}\" has a wrong value", name));
    }
  }

  const absl::Status& status() const { return status_; }

 private:
  const Json& json_;
  absl::Status status_;
};

}  // namespace

Json ToJson(const ModelFacts& facts) {
  Json json = Json::object();
  VisitFacts(facts, [&](const char* name, const auto& value) { json[name] = value; });
  return json;
}

Json ToJson(const Compatibility& compatibility) {
  Json json = Json::object();
  VisitCompatibility(compatibility,
                     [&](const char* name, const auto& value) { json[name] = value; });
  return json;
}

Json ToJson(const MemoryEstimate& estimate) {
  Json json = Json::object();
  VisitEstimate(estimate, [&](const char* name, const auto& value) { json[name] = value; });
  json["total_bytes"] = estimate.total_bytes();
  return json;
}

Json ToJson(const Gpu& gpu) {
  Json json = Json::object();
  VisitGpu(gpu, [&](const char* name, const auto& value) { json[name] = value; });
  return json;
}

absl::StatusOr<ModelFacts> ParseFacts(const Json& json) {
  ModelFacts facts;
  Reader reader(json);
  VisitFacts(facts, [&](const char* name, auto& value) { reader(name, value); });
  if (!reader.status().ok()) return reader.status();
  return facts;
}

absl::StatusOr<Compatibility> ParseCompatibility(const Json& json) {
  Compatibility compatibility;
  Reader reader(json);
  VisitCompatibility(compatibility, [&](const char* name, auto& value) { reader(name, value); });
  if (!reader.status().ok()) return reader.status();
  return compatibility;
}

absl::StatusOr<MemoryEstimate> ParseEstimate(const Json& json) {
  MemoryEstimate estimate;
  Reader reader(json);
  VisitEstimate(estimate, [&](const char* name, auto& value) { reader(name, value); });
  if (!reader.status().ok()) return reader.status();
  return estimate;
}

absl::StatusOr<Gpu> ParseGpu(const Json& json) {
  Gpu gpu;
  Reader reader(json);
  VisitGpu(gpu, [&](const char* name, auto& value) { reader(name, value); });
  if (!reader.status().ok()) return reader.status();
  return gpu;
}

}  // namespace corpgrid::inference
