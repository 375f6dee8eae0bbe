#include "agent/model_host.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "fmt/format.h"
#include "worker/gpus.h"

namespace corpgrid::agent {

namespace pb = corpgrid::v1;

namespace {

constexpr int64_t kLookAtGpusEveryMs = 15'000;
constexpr int64_t kAfterFailureMs = 300'000;  // a driver that hangs is left alone for a while

}  // namespace

// One that starts may ask for its limit still.
ModelHost::~ModelHost() {
  std::map<std::string, std::unique_ptr<HostedWorker>> workers;
  {
    const absl::MutexLock lock(&mutex_);
    workers.swap(workers_);
  }
  for (const auto& [name, worker] : workers) worker->Stop();
}

uint64_t ModelHost::FreeBytes(const std::string& but) const {
  uint64_t promised = 0, unused = 0, available = options_.available_bytes();
  for (const auto& [name, worker] : workers_) {
    const HostedWorker::Memory memory = worker->MemoryOf();
    if (name == but) {
      available += memory.promised - memory.unused;
      continue;
    }
    promised += memory.promised;
    unused += memory.unused;
  }
  return std::min(options_.limit_bytes - std::min(options_.limit_bytes, promised),
                  available - std::min(available, unused));
}

// A folder that cannot be read for a moment must not unload what people talk to.
std::vector<LocalModel> ModelHost::Held() {
  absl::StatusOr<std::vector<LocalModel>> held = options_.held();
  const absl::MutexLock lock(&mutex_);
  if (held.ok()) {
    held_ = *std::move(held);
  } else {
    spdlog::warn("the models here cannot be listed: {}", std::string(held.status().message()));
  }
  return held_;
}

void ModelHost::LookAtGpus() {
  const int64_t now_ms = options_.clock->MonotonicMs();
  {
    const absl::MutexLock lock(&mutex_);
    if (!options_.gpus || now_ms < next_look_ms_) return;
  }
  const absl::StatusOr<std::vector<inference::Gpu>> gpus = options_.gpus();
  const absl::MutexLock lock(&mutex_);
  if (!gpus.ok()) {
    spdlog::warn("GPUs cannot be listed: {}", std::string(gpus.status().message()));
    next_look_ms_ = now_ms + kAfterFailureMs;
    return;
  }
  gpus_.clear();
  for (const inference::Gpu& gpu : *gpus) {
    gpus_.push_back(worker::Offer(gpu, options_.resources->limits().memory_percent));
  }
  // Where there is none, none comes.
  next_look_ms_ = gpus_.empty() ? INT64_MAX : now_ms + kLookAtGpusEveryMs;
}

pb::HostReport ModelHost::Report() {
  LookAtGpus();
  pb::HostReport report;
  for (const LocalModel& model : Held()) {
    pb::HostReport::Held* held = report.add_held();
    held->set_name(model.name);
    held->set_digest(model.digest);
    held->set_bytes(model.bytes);
  }
  const absl::MutexLock lock(&mutex_);
  report.set_quantises(options_.in_type != nullptr);
  report.set_receives(inbox_->receives());
  report.set_limit_bytes(options_.limit_bytes);
  report.set_heeds(pb::HostedSettings::kMemoryBytesFieldNumber);
  report.set_total_bytes(options_.resources->device_bytes());
  report.set_free_bytes(FreeBytes());
  report.mutable_gpus()->Assign(gpus_.begin(), gpus_.end());
  for (const auto& [name, worker] : workers_) *report.add_hosted() = worker->State();
  return report;
}

void ModelHost::Follow(const pb::HostOrders& orders) {
  std::map<std::string, const pb::HostOrders::Model*> wanted;
  for (const pb::HostOrders::Model& order : orders.models()) wanted[order.name()] = &order;
  std::vector<std::unique_ptr<HostedWorker>> unwanted;
  {
    const absl::MutexLock lock(&mutex_);
    for (auto it = workers_.begin(); it != workers_.end();) {
      const auto order = wanted.find(it->first);
      if (order != wanted.end() && it->second->Follows(*order->second)) {
        wanted.erase(order);
        ++it;
      } else {
        unwanted.push_back(std::move(it->second));
        it = workers_.erase(it);
      }
    }
  }
  for (const auto& worker : unwanted) worker->Stop();
  if (!unwanted.empty()) {
    unwanted.clear();
    const absl::MutexLock lock(&mutex_);
    if (!gpus_.empty()) next_look_ms_ = 0;  // they have more room now
  }
  if (wanted.empty()) return;
  const std::vector<LocalModel> held = Held();
  const absl::MutexLock lock(&mutex_);
  for (const auto& [name, order] : wanted) {
    const auto model = std::find_if(held.begin(), held.end(), [&, order = order](const auto& one) {
      return one.name == order->name() && one.digest == order->digest();
    });
    if (model == held.end()) continue;  // The next report tells that it is gone.
    workers_[name] = std::make_unique<HostedWorker>(HostedWorker::Options{
        .program = options_.worker_path,
        .folder = fmt::format("{}/{}", options_.folder, ++folders_),
        .order = *order,
        .model = *model,
        .in_type = options_.in_type,
        .limit_bytes =
            [this, name = name] {
              const absl::MutexLock lock(&mutex_);
              return FreeBytes(name);
            },
        .gpu_percent = gpus_.empty() ? 0 : options_.resources->limits().memory_percent,
        .making = &making_,
        .turn = &turn_,
        .resources = options_.resources,
        .clock = options_.clock});
  }
}

std::shared_ptr<rpc::WorkerChannel> ModelHost::ChannelTo(const std::string& model) const {
  const absl::MutexLock lock(&mutex_);
  const auto found = workers_.find(model);
  return found == workers_.end() ? nullptr : found->second->channel();
}

}  // namespace corpgrid::agent
