#include "store/row_values.h"

#include "crypto/encoding.h"
#include "fmt/format.h"

namespace corpgrid::store {

std::string EncodeOutputs(const std::vector<job::Output>& outputs) {
  if (outputs.empty()) return "";
  crypto::Encoder encoder("corpgrid outputs", 1);
  encoder.Add(uint64_t{outputs.size()});
  for (const job::Output& output : outputs) {
    encoder.Add(output.name).Add(output.hash.Raw()).Add(output.size_bytes);
  }
  return encoder.bytes();
}

std::string EncodeDevices(const std::vector<DeviceId>& devices) {
  std::string text;
  for (const DeviceId id : devices) text += (text.empty() ? "" : ",") + id.ToString();
  return text;
}

std::string EncodeTexts(const std::vector<std::string>& texts) {
  return fmt::format("{}", fmt::join(texts, ","));
}

}  // namespace corpgrid::store
