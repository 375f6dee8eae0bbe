#pragma once

#include <memory>
#include <string>

#include "absl/time/time.h"
#include "rpc/worker_channel.h"
#include "scheduler/model_directory.h"

namespace corpgrid::scheduler {

// The way to whoever hosts a model: each call looks for the replica that has least to do, and waits
// for one that is being loaded. Calls end with what ModelDirectory::Find says when it finds none in
// time, else as the worker's. Any thread.
class WaitingChannel final : public rpc::WorkerChannel {
 public:
  static constexpr absl::Duration kRetry = absl::Milliseconds(250);
  static constexpr absl::Duration kPatience = absl::Minutes(2);

  // `directory` must outlive the channel and its calls.
  WaitingChannel(ModelDirectory* directory, std::string model)
      : directory_(directory), model_(std::move(model)) {}

  std::unique_ptr<rpc::WorkerCall> Start(std::string_view method, const std::string& request,
                                         std::shared_ptr<rpc::CallListener> listener) override;

 private:
  ModelDirectory* const directory_;
  const std::string model_;
};

}  // namespace corpgrid::scheduler
