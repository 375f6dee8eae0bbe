#include "scheduler/model_directory.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "fmt/format.h"

namespace corpgrid::scheduler {
namespace {

// The replica that has least to do; null when none can be asked.
const core::ReplicaView* Best(const core::ModelView& model, Relay* relay) {
  const core::ReplicaView* best = nullptr;
  size_t least = 0;
  for (const core::ReplicaView& replica : model.replicas) {
    if (replica.hosted.state != core::ReplicaState::kReady) continue;
    // What the device reports is of seconds ago; others than this scheduler may ask it, too.
    const std::optional<size_t> calls = relay->CallsOf(replica.device);
    if (!calls) continue;
    const size_t load = std::max<size_t>(*calls, replica.hosted.running + replica.hosted.waiting);
    if (best && load >= least) continue;
    best = &replica;
    least = load;
  }
  return best;
}

std::string WhyNobody(const core::ModelView& model) {
  if (!model.why.empty()) return model.why;
  if (model.asleep || model.replicas.empty()) return "it was asleep, and is loaded again";
  return fmt::format("device {} \"{}\" is loading it, or not connected",
                     model.replicas.front().device.value, model.replicas.front().device_name);
}

}  // namespace

void ModelDirectory::Find(const std::string& model, Found found) {
  loop_->Submit(core::WakeModel{model}, [](const core::Reply&) {});
  loop_->Ask<core::HostingView>(
      core::ViewHosting{},
      [this, model, found = std::move(found)](const absl::StatusOr<core::HostingView>& view) {
        if (!view.ok()) return found(view.status());
        const auto it =
            std::find_if(view->models.begin(), view->models.end(),
                         [&](const core::ModelView& one) { return one.row.name == model; });
        if (it == view->models.end()) {
          return found(absl::NotFoundError(
              fmt::format("model {} is not loaded; `corpgrid model load` hosts it", model)));
        }
        const core::ReplicaView* best = Best(*it, relay_);
        if (!best) {
          return found(absl::UnavailableError(
              fmt::format("nobody can be asked for model {}: {}", model, WhyNobody(*it))));
        }
        found(relay_->ChannelTo(best->device, model));
      });
}

}  // namespace corpgrid::scheduler
