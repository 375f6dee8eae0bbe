#include "rpc/registration.h"

#include "crypto/encoding.h"

namespace corpgrid::rpc {
namespace {

std::string Statement(const corpgrid::v1::RegisterAgentRequest& request, uint32_t version) {
  const corpgrid::v1::DeviceInfo& info = request.info();
  crypto::Encoder encoder("corpgrid register", version);
  const auto add_texts = [&](const auto& texts) {
    encoder.Add(uint64_t(texts.size()));
    for (const std::string& text : texts) encoder.Add(text);
  };
  encoder.Add(request.public_key())
      .Add(info.name())
      .Add(info.site())
      .Add(uint64_t{info.cpus()})
      .Add(uint64_t{info.memory_bytes()})
      .Add(uint64_t{info.vram_bytes()});
  add_texts(info.backends());
  encoder.Add(uint64_t{info.network_allowed()}).Add(info.version());
  if (version > 1) {
    add_texts(info.labels());
    encoder.Add(info.drivers()).Add(info.program());
  }
  encoder.Add(request.join_token()).AddSigned(request.wall_time_ms()).Add(request.nonce());
  return encoder.bytes();
}

}  // namespace

std::string FullRegistrationStatement(const corpgrid::v1::RegisterAgentRequest& request) {
  return Statement(request, 2);
}

std::string RegistrationStatement(const corpgrid::v1::RegisterAgentRequest& request) {
  return Statement(request, 1);
}

}  // namespace corpgrid::rpc
