#include "core/hosting.h"

#include <algorithm>
#include <cctype>
#include <iterator>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "base/text.h"
#include "fmt/format.h"

namespace corpgrid::core {
namespace {

constexpr int64_t kLookEveryMs = 500;
constexpr int64_t kForgottenAfter = 10;  // times as long as a device may be silent

// Names of models are part of URLs and of what people type.
bool IsName(const std::string& name) {
  return !name.empty() && name.size() <= Hosting::kMaxNameBytes &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return std::isalnum(c) ||
                  std::string_view("-_.:/").find(static_cast<char>(c)) != std::string_view::npos;
         });
}

// "Q4_K_M"; which ones there are, the library on the devices knows.
bool IsType(const std::string& type) {
  return type.size() <= Hosting::kMaxTypeBytes &&
         std::all_of(type.begin(), type.end(),
                     [](unsigned char c) { return std::isalnum(c) || c == '_'; });
}

// Whether a worker that was loaded as the one says is what the other asks for.
bool IsOneWorker(const ModelRow& a, const ModelRow& b) {
  return a.digest == b.digest && a.sequences == b.sequences && a.context == b.context &&
         a.shared_memory == b.shared_memory && a.memory_bytes == b.memory_bytes && a.type == b.type;
}

const HeldModel* FindHeld(const HostReport& report, const std::string& name) {
  const auto found = std::find_if(report.held.begin(), report.held.end(),
                                  [&](const HeldModel& held) { return held.name == name; });
  return found == report.held.end() ? nullptr : &*found;
}

}  // namespace

void Hosting::Load(std::vector<ModelRow> rows, int64_t now_ms) {
  for (ModelRow& row : rows) {
    if (row.removed) continue;
    Model& model = models_[row.name];
    model.since_ms = now_ms + silent_ms_;
    model.row = std::move(row);
  }
}

Hosting::Room Hosting::RoomOf(const Host& host) {
  Room room{host.report.free_bytes, host.report.limit_bytes};
  for (const HostGpu& gpu : host.report.gpus) {
    if (gpu.free_bytes > room.free_bytes) room = {gpu.free_bytes, gpu.limit_bytes};
  }
  room.free_bytes -= std::min(room.free_bytes, host.promised_bytes);
  return room;
}

bool Hosting::Holds(const Host& host, const ModelRow& row) {
  const HeldModel* held = FindHeld(host.report, row.name);
  return held && held->digest == row.digest;
}

std::string_view Hosting::Lacks(const Host& host, const ModelRow& row) {
  if (!row.type.empty() && !host.report.quantises) return "change types of weights";
  if (row.shared_memory && !host.report.shares_memory) return "share memory among sequences";
  if (row.memory_bytes > 0 && !host.report.limits_memory) return "limit a model's memory";
  return "";
}

uint64_t Hosting::LeastBytes(const ModelRow& row, const Host& host) {
  const HeldModel* held = row.type.empty() ? FindHeld(host.report, row.name) : nullptr;
  return held ? held->bytes : 0;
}

std::string Hosting::WhyNot(const ModelRow& row, const Host& host, const Model* model,
                            int64_t now_ms) const {
  if (!IsHere(host, now_ms)) return "it is not there";
  if (!host.facts.closed.empty()) return host.facts.closed;
  if (model) {
    if (model->replicas.contains(host.report.device)) return "it has one replica, its most";
    const auto refusal = model->refusals.find(host.report.device);
    if (refusal != model->refusals.end() && refusal->second.until_ms > now_ms) {
      return fmt::format("{} (tried again in {} s)", refusal->second.reason,
                         (refusal->second.until_ms - now_ms + 999) / 1000);
    }
  }
  if (const std::string_view lacks = Lacks(host, row); !lacks.empty()) {
    return fmt::format("its agent is too old to {}", lacks);
  }
  const uint64_t bytes = LeastBytes(row, host);
  if (row.memory_bytes > 0 && bytes > row.memory_bytes && host.report.gpus.empty()) {
    return fmt::format("its files alone are {}, and it may have {}", FormatBytes(bytes),
                       FormatBytes(row.memory_bytes));
  }
  const Room room = RoomOf(host);
  if (bytes > room.free_bytes) {
    return fmt::format("its files alone are {}, and {} of the {} that models may have are free",
                       FormatBytes(bytes), FormatBytes(room.free_bytes),
                       FormatBytes(room.limit_bytes));
  }
  return "";
}

std::string Hosting::WhyNowhere(const ModelRow& row, const Model* model, int64_t now_ms) const {
  std::string reasons;
  for (const auto& [id, host] : hosts_) {
    if (!Holds(host, row)) continue;
    reasons += fmt::format("{}device {} \"{}\": {}", reasons.empty() ? "" : "; ", id.value,
                           host.facts.name, WhyNot(row, host, model, now_ms));
  }
  return reasons.empty() ? "no device that is there has its files" : reasons;
}

absl::StatusOr<ModelRow> Hosting::Check(ModelRow row, int64_t now_ms) const {
  if (!IsName(row.name)) {
    return absl::InvalidArgumentError(
        fmt::format("\"{}\" is no name of a model: 1 to {} letters, digits and \"-_.:/\"", row.name,
                    kMaxNameBytes));
  }
  if (!IsType(row.type)) {
    return absl::InvalidArgumentError(
        fmt::format("\"{}\" is no type of weights, as Q4_K_M is", row.type));
  }
  row.type = absl::AsciiStrToUpper(row.type);
  if (row.replicas < 1 || row.replicas > kMaxReplicas) {
    return absl::InvalidArgumentError(
        fmt::format("a model has 1 to {} replicas, got {}", kMaxReplicas, row.replicas));
  }
  const auto known = models_.find(row.name);
  if (known == models_.end() && models_.size() >= kMaxModels) {
    return absl::ResourceExhaustedError(
        fmt::format("{} models are loaded already; unload some first", models_.size()));
  }
  std::set<std::string> digests;
  std::vector<std::string> names;
  for (const auto& [id, host] : hosts_) {
    if (!IsHere(host, now_ms)) continue;
    for (const HeldModel& held : host.report.held) {
      if (held.name == row.name) digests.insert(held.digest);
      names.push_back(held.name);
    }
  }
  if (digests.empty()) {
    const std::string nearest = Nearest(row.name, names);
    return absl::NotFoundError(fmt::format(
        "no device has a model {}{}: `corpgrid model add` there, or `corpgrid model upload`, puts "
        "one there",
        row.name, nearest.empty() ? "" : fmt::format("; did you mean {}?", nearest)));
  }
  if (row.digest.empty()) {
    if (digests.size() > 1) {
      return absl::FailedPreconditionError(
          fmt::format("devices have {} different models {}: say which one by its digest",
                      digests.size(), row.name));
    }
    row.digest = *digests.begin();
  }
  const bool somewhere = std::any_of(hosts_.begin(), hosts_.end(), [&](const auto& entry) {
    return Holds(entry.second, row) && Lacks(entry.second, row).empty() &&
           ((known != models_.end() && known->second.replicas.contains(entry.first)) ||
            WhyNot(row, entry.second, nullptr, now_ms).empty());
  });
  if (!somewhere) {
    return absl::FailedPreconditionError(
        fmt::format("model {} fits no device: {}", row.name, WhyNowhere(row, nullptr, now_ms)));
  }
  row.removed = false;
  // A version is never given twice, also not to a model that was unloaded meanwhile.
  row.version = known == models_.end() ? static_cast<uint64_t>(std::max<int64_t>(1, now_ms))
                                       : known->second.row.version;
  if (known != models_.end() && !IsOneWorker(known->second.row, row)) ++row.version;
  return row;
}

std::optional<ModelRow> Hosting::Find(const std::string& name) const {
  const auto found = models_.find(name);
  if (found == models_.end()) return std::nullopt;
  return found->second.row;
}

void Hosting::Put(ModelRow row, int64_t now_ms) {
  Model& model = models_[row.name];
  // Who hosts an older version of it keeps its place and loads it anew.
  if (model.row.version != row.version) {
    model.refusals.clear();
    model.last_failure.reset();
    for (auto& [device, hosted] : model.replicas) hosted.state = ReplicaState::kLoading;
  }
  while (model.replicas.size() > row.replicas)
    model.replicas.erase(std::prev(model.replicas.end()));
  model.row = std::move(row);
  model.since_ms = std::min(model.since_ms, now_ms);
  model.asleep = false;
  model.woken_ms = now_ms;
  Place(model, now_ms);
}

absl::StatusOr<ModelRow> Hosting::Remove(const std::string& name) {
  const auto found = models_.find(name);
  if (found == models_.end()) {
    std::vector<std::string> names;
    for (const auto& [known, model] : models_) names.push_back(known);
    const std::string nearest = Nearest(name, names);
    return absl::NotFoundError(
        fmt::format("model {} is not loaded{}", name,
                    nearest.empty() ? "" : fmt::format("; did you mean {}?", nearest)));
  }
  ModelRow row = std::move(found->second.row);
  row.removed = true;
  models_.erase(found);
  return row;
}

absl::Status Hosting::Wake(const std::string& name, int64_t now_ms) {
  const auto found = models_.find(name);
  if (found == models_.end()) {
    return absl::NotFoundError(fmt::format("model {} is not loaded", name));
  }
  Model& model = found->second;
  model.woken_ms = now_ms;
  if (std::exchange(model.asleep, false)) Place(model, now_ms);
  return absl::OkStatus();
}

HostOrders Hosting::Report(HostReport report, Facts facts, int64_t now_ms) {
  const DeviceId device = report.device;
  Host& host = hosts_[device];
  host.heard_ms = now_ms;
  host.facts = std::move(facts);
  host.report = std::move(report);
  host.promised_bytes = 0;
  for (auto& [name, model] : models_) {
    const auto hosted =
        std::find_if(host.report.hosted.begin(), host.report.hosted.end(),
                     [&, key = &name](const HostedModel& one) { return one.name == *key; });
    if (hosted != host.report.hosted.end()) {
      Hear(model, device, *hosted, now_ms);
    } else if (const auto replica = model.replicas.find(device); replica != model.replicas.end()) {
      // It does not know of it yet, or has forgotten it with its own restart.
      replica->second = {.name = name, .state = ReplicaState::kAssigned};
      host.promised_bytes += LeastBytes(model.row, host);
    }
    if (!host.facts.closed.empty() || !Holds(host, model.row) || !Lacks(host, model.row).empty()) {
      model.replicas.erase(device);
    }
    PutToSleep(model, now_ms);
  }
  for (auto& [name, model] : models_) Place(model, now_ms);
  HostOrders orders;
  for (const auto& [name, model] : models_) {
    if (model.replicas.contains(device)) orders.models.push_back(model.row);
  }
  return orders;
}

void Hosting::Hear(Model& model, DeviceId device, const HostedModel& hosted, int64_t now_ms) {
  const bool is_current = hosted.version == model.row.version;
  const auto replica = model.replicas.find(device);
  if (replica == model.replicas.end()) {
    // From before this scheduler led, or from before the device fell silent.
    const bool adopt = is_current && !model.asleep && hosted.state != ReplicaState::kFailed &&
                       model.replicas.size() < model.row.replicas;
    if (adopt) model.replicas.emplace(device, hosted);
    return;
  }
  if (is_current && hosted.state == ReplicaState::kFailed) {
    Fail(model, device, hosted.error, now_ms);
    return;
  }
  replica->second = hosted;
  if (!is_current) replica->second.state = ReplicaState::kLoading;
  if (is_current && hosted.state == ReplicaState::kReady) model.refusals.erase(device);
}

void Hosting::Fail(Model& model, DeviceId device, const std::string& reason, int64_t now_ms) {
  model.replicas.erase(device);
  Refusal& refusal = model.refusals[device];
  refusal.reason = reason;
  model.last_failure = {hosts_.at(device).facts.name, reason};
  model.failed_ms = now_ms;
  refusal.until_ms = now_ms + std::min(kRetryMs << std::min(refusal.times++, 16), kMaxRetryMs);
}

void Hosting::PutToSleep(Model& model, int64_t now_ms) {
  const int64_t idle_ms = model.row.idle_ms;
  if (idle_ms == 0 || model.replicas.empty() || now_ms - model.woken_ms < idle_ms) return;
  model.asleep = std::all_of(model.replicas.begin(), model.replicas.end(), [&](const auto& entry) {
    const HostedModel& hosted = entry.second;
    return hosted.state == ReplicaState::kReady && hosted.running + hosted.waiting == 0 &&
           hosted.idle_ms >= idle_ms;
  });
  if (model.asleep) model.replicas.clear();
}

void Hosting::Place(Model& model, int64_t now_ms) {
  if (model.asleep || now_ms < model.since_ms) return;
  while (model.replicas.size() < model.row.replicas) {
    Host* best = nullptr;
    for (auto& [id, host] : hosts_) {
      if (!Holds(host, model.row) || !WhyNot(model.row, host, &model, now_ms).empty()) continue;
      if (!best || RoomOf(host).free_bytes > RoomOf(*best).free_bytes) best = &host;
    }
    if (!best) return;
    best->promised_bytes += LeastBytes(model.row, *best);
    model.replicas[best->report.device] = {.name = model.row.name,
                                           .state = ReplicaState::kAssigned};
  }
}

void Hosting::Tick(int64_t now_ms) {
  if (now_ms < next_look_ms_) return;
  next_look_ms_ = now_ms + kLookEveryMs;
  for (auto& [name, model] : models_) {
    std::erase_if(model.replicas,
                  [&](const auto& entry) { return !IsHere(hosts_.at(entry.first), now_ms); });
    Place(model, now_ms);
  }
  std::erase_if(hosts_, [&](const auto& entry) {
    return now_ms - entry.second.heard_ms > kForgottenAfter * silent_ms_;
  });
}

HostingView Hosting::View(int64_t now_ms) const {
  HostingView view;
  for (const auto& [name, model] : models_) {
    ModelView& out = view.models.emplace_back();
    out.row = model.row;
    out.asleep = model.asleep;
    out.last_failure = model.last_failure;
    if (out.last_failure) out.last_failure->ago_ms = now_ms - model.failed_ms;
    for (const auto& [device, hosted] : model.replicas) {
      out.replicas.push_back({device, hosts_.at(device).facts.name, hosted});
    }
    if (model.asleep || model.replicas.size() == model.row.replicas) continue;
    out.why = now_ms < model.since_ms ? "devices are asked what they host"
                                      : WhyNowhere(model.row, &model, now_ms);
  }
  for (const auto& [id, host] : hosts_) {
    if (!IsHere(host, now_ms)) continue;
    view.hosts.push_back({id, host.facts.name, host.report.limit_bytes, host.report.free_bytes,
                          host.report.gpus, host.facts.closed, host.report.held,
                          host.report.receives, host.report.total_bytes});
  }
  return view;
}

}  // namespace corpgrid::core
