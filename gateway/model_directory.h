#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "rpc/worker_channel.h"

namespace corpgrid::gateway {

// What the API tells of a model, and needs to know.
struct ModelInfo {
  std::string name;
  int64_t created_s = 0;  // since 1970
  uint32_t context = 0;   // tokens that a prompt and its answer may have
  std::string chat_template;
};

struct Model {
  ModelInfo info;
  std::shared_ptr<rpc::WorkerChannel> channel;  // to a worker that has it
};

// Which models there are, and who answers for one now. Any thread.
class ModelDirectory {
 public:
  virtual ~ModelDirectory() = default;

  virtual std::vector<ModelInfo> List() const = 0;

  // Whether it can be asked. Wakes nothing. Errors: Unavailable, and why.
  virtual absl::Status Health() const = 0;

  // Errors: NotFound that tells which models there are, Unavailable when nobody answers for it at
  // the moment, and why.
  virtual absl::StatusOr<Model> Find(const std::string& name) const = 0;
};

}  // namespace corpgrid::gateway
