#include "rpc/registration.h"

#include "crypto/encoding.h"

namespace corpgrid::rpc {

std::string RegistrationStatement(const corpgrid::v1::RegisterAgentRequest& request) {
  const corpgrid::v1::DeviceInfo& info = request.info();
  crypto::Encoder encoder("corpgrid register", 1);
  encoder.Add(request.public_key())
      .Add(info.name())
      .Add(info.site())
      .Add(uint64_t{info.cpus()})
      .Add(uint64_t{info.memory_bytes()})
      .Add(uint64_t{info.vram_bytes()})
      .Add(uint64_t(info.backends_size()));
  for (const std::string& backend : info.backends()) encoder.Add(backend);
  encoder.Add(uint64_t{info.network_allowed()})
      .Add(info.version())
      .Add(request.join_token())
      .AddSigned(request.wall_time_ms())
      .Add(request.nonce());
  return encoder.bytes();
}

}  // namespace corpgrid::rpc
