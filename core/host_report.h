#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "core/rows.h"

// What devices that host models say of themselves, what they are told, and what people see of it.
// None of it is in a store.
namespace corpgrid::core {

// A model whose files a device has.
struct HeldModel {
  std::string name;
  std::string digest;  // SHA-256 of its files; 32 bytes
  uint64_t bytes = 0;  // of them
};

enum class ReplicaState : uint8_t {
  kAssigned,  // its device has not said anything of it yet
  kLoading,
  kReady,
  kFailed,  // could not be loaded, or its worker has ended
};

// A model that a device hosts, or tried to.
struct HostedModel {
  std::string name;
  uint64_t version = 0;  // ModelRow::version that it was loaded for
  ReplicaState state = ReplicaState::kLoading;
  uint64_t needs_bytes = 0;     // its estimate; 0: not known yet
  uint64_t resident_bytes = 0;  // that its worker uses now
  uint32_t running = 0;         // requests
  uint32_t waiting = 0;
  int64_t idle_ms = 0;     // since its last request ended, or since it was loaded
  std::string error = "";  // why it failed, with the figures or the worker's last words
  std::string gpu = "";    // of its device, that has it; empty: processors compute it
  uint64_t gpu_bytes = 0;  // of that one's memory, beside needs_bytes
  std::optional<double> quantised = {};  // while its weights are made another type: of them, 0..1
};

// A GPU that models can be on.
struct HostGpu {
  std::string name = "";         // "Vulkan0"
  std::string backend;           // "vulkan"
  std::string description = "";  // what its maker calls it
  uint64_t total_bytes = 0;      // of its memory
  uint64_t limit_bytes = 0;      // of its memory, that may be in use
  uint64_t free_bytes = 0;       // of these
};

// That a replica could not be loaded, or that its worker ended.
struct ModelFailure {
  std::string device_name;
  std::string error;
  int64_t ago_ms = 0;
};

struct HostReport {
  DeviceId device;
  uint64_t limit_bytes = 0;  // that its owner lets models have together
  uint64_t free_bytes = 0;   // for more models: of the limit, and of the machine's memory
  std::vector<HeldModel> held = {};
  std::vector<HostedModel> hosted = {};
  std::vector<HostGpu> gpus = {};
  bool quantises = false;  // it can load a model with another type of weights than its files have
  bool receives = false;   // models can be sent to it
  bool shares_memory = false;  // among sequences
  bool limits_memory = false;  // of one model
  uint64_t total_bytes = 0;    // of the machine's memory
};

// All that a device is to host; what else it has it unloads.
struct HostOrders {
  std::vector<ModelRow> models;
};

struct ReplicaView {
  DeviceId device;
  std::string device_name;
  HostedModel hosted;
};

struct ModelView {
  ModelRow row;
  bool asleep = false;  // unloaded until somebody asks
  std::vector<ReplicaView> replicas;
  std::string why;  // it has fewer than it should; empty: it has all
  std::optional<ModelFailure> last_failure;
};

// A device that hosts models, or could.
struct HostView {
  DeviceId device;
  std::string name;
  uint64_t limit_bytes = 0;
  uint64_t free_bytes = 0;
  std::vector<HostGpu> gpus;
  std::string closed;  // why it takes no models now; empty: it does
  std::vector<HeldModel> held;
  bool receives = false;  // models can be sent to it
  uint64_t total_bytes = 0;
};

struct HostingView {
  std::vector<ModelView> models;
  std::vector<HostView> hosts;
};

}  // namespace corpgrid::core
