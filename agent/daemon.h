#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "agent/job_cache.h"
#include "agent/model_host.h"
#include "agent/registrar.h"
#include "agent/slot.h"
#include "base/clock.h"
#include "crypto/signature.h"
#include "grpcpp/channel.h"
#include "resources/resource_manager.h"

namespace corpgrid::agent {

// What an agent is made of; the seams at which tests put other things.
struct DaemonParts {
  std::string data_folder;
  std::string runner_path;
  uint32_t slots = 1;
  uint64_t cache_bytes = 20ull << 30;
  Registrar::Device device;
  const crypto::KeyPair* key = nullptr;
  std::shared_ptr<grpc::Channel> channel;
  StartSession start_session;
  JobCache::TrustFunction trusts;
  ConditionFunction condition;
  ModelHost* models = nullptr;  // null: it hosts none
  resources::ResourceManager* resources = nullptr;
  const Clock* clock = nullptr;
};

// Registers, runs shards and hands them in until `asked_to_stop`, which waits up to that many
// milliseconds, says so. Errors: of a scheduler that does not admit this device, FailedPrecondition
// for an unusable data folder.
absl::Status RunDaemon(const DaemonParts& parts, const std::function<bool(int64_t)>& asked_to_stop);

}  // namespace corpgrid::agent
