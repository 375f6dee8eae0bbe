#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "corpgrid/v1/hosting.grpc.pb.h"
#include "gateway/model_directory.h"

namespace corpgrid::gateway {

class GridConnection;

// The models that a grid hosts. It asks the scheduler every second which there are; calls to
// workers go through it (ModelHosting.Call), and wait for a model that is asleep or being moved. A
// scheduler that restarts is found again by its grid.json. Any thread.
class GridModels final : public ModelDirectory {
 public:
  // `data_folder`: the grid's. Errors: Unavailable when there is no grid.
  static absl::StatusOr<std::unique_ptr<GridModels>> Start(const std::string& data_folder);
  ~GridModels() override;

  std::vector<ModelInfo> List() const override;
  absl::Status Health() const override;
  absl::StatusOr<Model> Find(const std::string& name) const override;

 private:
  struct Known {
    ModelInfo info;
    std::string digest;
    uint32_t context = 0;    // that was ordered
    bool described = false;  // a worker has told what it is
  };

  explicit GridModels(std::string data_folder) : data_folder_(std::move(data_folder)) {}

  void Run();
  absl::Status Connect();
  absl::Status Refresh();
  // Asks a worker what the model is. It may have to be loaded first. Any thread; the list is read
  // again meanwhile.
  void Describe(const std::string& name);

  const std::string data_folder_;
  mutable absl::Mutex mutex_;
  std::shared_ptr<GridConnection> connection_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Known> models_ ABSL_GUARDED_BY(mutex_);
  // That somebody asked for, and that no worker has described yet.
  mutable std::set<std::string> wanted_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> answered_ ABSL_GUARDED_BY(mutex_);  // whose Describe() is over
  absl::Status reached_ ABSL_GUARDED_BY(mutex_);            // what the last question came to
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace corpgrid::gateway
