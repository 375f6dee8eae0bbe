#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "agent/model_host.h"
#include "resources/limits.h"

namespace corpgrid::agent {

struct Options {
  std::string data_folder;     // belongs to this agent alone: keys, cached bundles, spooled outputs
  std::string scheduler;       // "127.0.0.1:50051"
  std::string join_token;      // names the owner; needed until the grid knows this device
  std::string name;            // for people; empty: the host's name
  std::string site;            // where it stands, for people and placement
  int slots = 0;               // shards at a time; 0: one a processor
  std::string runner_path;     // the corpgrid-runner program
  bool allow_network = false;  // take jobs that ask for the network
  std::string keyring_path;    // submitters whose jobs run here; empty: DATA/trusted
  std::vector<std::string> labels;  // that jobs may ask for: "fast-disk", "os=debian12"
  std::vector<std::string> hours;   // when it is lent (agent/hours.h); empty: always
  std::string power_supply = "/sys/class/power_supply";  // where the power status is read
  std::string hwmon = "/sys/class/hwmon";                // and the temperatures
  std::string worker_path;          // the corpgrid-worker program; empty: it hosts no models
  uint64_t model_memory_bytes = 0;  // that models may have together; 0: half of what is lent
  std::function<absl::StatusOr<std::vector<LocalModel>>()> models;  // that it could host
  ModelFolder sent_models = {};  // what it does with models that are sent to it
  InType in_type = nullptr;      // null: models are hosted with weights as their files have them
  // Of the machine, for models; null: none is used.
  std::function<absl::StatusOr<std::vector<inference::Gpu>>()> gpus = nullptr;
  resources::Limits limits;  // what is lent
  std::string metrics;       // where they are shown, "127.0.0.1:9090"; empty: nowhere
};

// Runs until SIGTERM, SIGINT or until `stop` becomes true, then hands every shard back, with its
// state if its job saves any, and returns OK within ten seconds. Started as root it becomes an
// unprivileged user of its own, for good: call it once, before the process has threads. Errors:
// FailedPrecondition when this machine cannot make sandboxes or another agent has the folder,
// InvalidArgument for options that make no sense, PermissionDenied when the grid does not admit
// this device.
absl::Status RunAgent(const Options& options, const std::atomic<bool>& stop);

}  // namespace corpgrid::agent
