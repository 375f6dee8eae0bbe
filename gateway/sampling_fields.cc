#include "gateway/sampling_fields.h"

#include <charconv>
#include <cstdint>
#include <limits>

#include "fmt/format.h"

namespace corpgrid::gateway {
namespace {

namespace pb = corpgrid::v1;

constexpr int64_t kMaxChoices = 64;
constexpr size_t kMaxStops = 16;
constexpr size_t kMaxStopBytes = 1024;
constexpr size_t kMaxBiases = 1024;

void ReadStops(Fields* fields, pb::GenerateRequest* request) {
  const Json* stop = fields->Any("stop");
  if (stop == nullptr) return;
  const auto add = [&](const Json& text) {
    if (!text.is_string() || text.get_ref<const std::string&>().empty() ||
        text.get_ref<const std::string&>().size() > kMaxStopBytes) {
      fields->Fail("stop", fmt::format("has to be a text of 1 to {} bytes, or a list of such",
                                       kMaxStopBytes));
      return;
    }
    request->add_stop(text.get<std::string>());
  };
  if (!stop->is_array()) {
    add(*stop);
  } else if (stop->size() > kMaxStops) {
    fields->Fail("stop",
                 fmt::format("has {} texts; at most {} are possible", stop->size(), kMaxStops));
  } else {
    for (const Json& text : *stop) add(text);
  }
}

void ReadBias(Fields* fields, pb::Sampling* sampling) {
  const Json* biases = fields->Object("logit_bias");
  if (biases == nullptr) return;
  if (biases->size() > kMaxBiases) {
    fields->Fail("logit_bias", fmt::format("names {} tokens; at most {} are possible",
                                           biases->size(), kMaxBiases));
    return;
  }
  for (const auto& [name, value] : biases->items()) {
    int32_t token = -1;
    const char* end = name.data() + name.size();
    const auto read = std::from_chars(name.data(), end, token);
    if (read.ec != std::errc() || read.ptr != end || token < 0 || !value.is_number() ||
        value.get<double>() < -100 || value.get<double>() > 100) {
      fields->Fail("logit_bias", fmt::format("has \"{}\": {}; a token's number and a bias from "
                                             "-100 to 100 are expected",
                                             name, Dump(value)));
      return;
    }
    pb::LogitBias* bias = sampling->add_logit_bias();
    bias->set_token(token);
    bias->set_bias(value.get<float>());
  }
}

}  // namespace

void ReadSampling(Fields* fields, pb::GenerateRequest* request) {
  pb::Sampling* sampling = request->mutable_sampling();
  sampling->set_temperature(fields->Number("temperature", 1, 0, 2));
  sampling->set_top_p(fields->Number("top_p", 1, 0, 1));
  sampling->set_top_k(
      static_cast<uint32_t>(fields->Integer("top_k", 0, 0, std::numeric_limits<int32_t>::max())));
  sampling->set_min_p(fields->Number("min_p", 0, 0, 1));
  sampling->set_presence_penalty(fields->Number("presence_penalty", 0, -2, 2));
  sampling->set_frequency_penalty(fields->Number("frequency_penalty", 0, -2, 2));
  if (fields->Has("seed")) {
    sampling->set_seed(static_cast<uint64_t>(fields->Integer(
        "seed", 0, std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max())));
  }
  request->set_choices(static_cast<uint32_t>(fields->Integer("n", 1, 1, kMaxChoices)));
  ReadBias(fields, sampling);
  ReadStops(fields, request);
}

}  // namespace corpgrid::gateway
