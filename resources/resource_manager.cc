#include "resources/resource_manager.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <utility>

#include "absl/time/clock.h"
#include "platform/priority.h"

namespace corpgrid::resources {
namespace {

constexpr int64_t kAskAgainUs = 100'000;  // whether who waits was cancelled

const prometheus::Histogram::BucketBoundaries kWaitSeconds = {0.001, 0.01, 0.1, 0.5, 1,
                                                              2.5,   5,    10,  30,  60};

void Log(bool tell, const ResourceManager::Request& request, const char* what, bool throttled,
         int64_t wait_us) {
  spdlog::log(tell ? spdlog::level::info : spdlog::level::debug,
              "request_id={} {} estimated_vram_mb={} available_vram_mb={} throttled={} wait_ms={}",
              request.id, what, request.estimated_bytes >> 20, request.available_bytes >> 20,
              throttled, wait_us / 1000);
}

}  // namespace

// One of each for each kind.
struct ResourceManager::Metrics {
  struct OfKind {
    prometheus::Counter* requests;
    prometheus::Counter* throttled;
    prometheus::Counter* memory_errors;
    prometheus::Histogram* waits;
  };

  Metrics() {
    auto& requests = prometheus::BuildCounter()
                         .Name("corpgrid_requests_total")
                         .Help("Shards and model requests that asked to begin.")
                         .Register(registry);
    auto& throttled = prometheus::BuildCounter()
                          .Name("corpgrid_requests_throttled_total")
                          .Help("Of these, those that had to wait.")
                          .Register(registry);
    auto& errors =
        prometheus::BuildCounter()
            .Name("corpgrid_vram_limit_errors_total")
            .Help(
                "What needs more memory than it may have: loads and embeddings that were "
                "refused, shards that were ended.")
            .Register(registry);
    auto& waits = prometheus::BuildHistogram()
                      .Name("corpgrid_throttle_wait_seconds")
                      .Help("How long what began had to wait for its turn.")
                      .Register(registry);
    const char* names[] = {"job", "model"};
    for (size_t i = 0; i < kinds.size(); ++i) {
      const prometheus::Labels labels = {{"kind", names[i]}};
      kinds[i] = {&requests.Add(labels), &throttled.Add(labels), &errors.Add(labels),
                  &waits.Add(labels, kWaitSeconds)};
    }
  }

  const OfKind& Of(const Request& request) const {
    return kinds[static_cast<size_t>(request.kind)];
  }

  prometheus::Registry registry;
  std::array<OfKind, 2> kinds{};
};

ResourceManager::ResourceManager(Options options)
    : options_(std::move(options)),
      load_([this] { return options_.load ? options_.load() : std::nullopt; }, options_.clock),
      throttle_({.per_second = options_.limits.requests_per_second,
                 .load_percent = options_.limits.load_percent,
                 .load = [this] { return load_.Percent(); },
                 .clock = options_.clock}),
      metrics_(std::make_unique<Metrics>()) {}

ResourceManager::~ResourceManager() = default;

void ResourceManager::LowerThisThread(std::string_view who) const {
  const absl::Status lowered = platform::LowerThisThread(options_.limits.priority);
  if (!lowered.ok()) {
    spdlog::warn("{} run as others do: {}", who, std::string(lowered.message()));
  }
}

Throttle::Slot ResourceManager::Reserve(const Request& request) {
  const Throttle::Slot slot = throttle_.Reserve();
  metrics_->Of(request).requests->Increment();
  if (slot.wait_us > 0) metrics_->Of(request).throttled->Increment();
  return slot;
}

void ResourceManager::Began(const Request& request, const Throttle::Slot& slot) {
  metrics_->Of(request).waits->Observe(static_cast<double>(slot.wait_us) / 1e6);
  const bool throttled = slot.wait_us > 0;
  // Shards may begin thousands of times a second.
  Log(request.kind == Kind::kModel || throttled, request, "begins", throttled, slot.wait_us);
}

absl::Status ResourceManager::Await(const Request& request,
                                    const std::function<bool()>& cancelled) {
  const Throttle::Slot slot = Reserve(request);
  int64_t left_us = slot.wait_us;
  while (left_us > 0) {
    if (cancelled()) {
      GiveBack(slot);
      return absl::CancelledError("it was cancelled while it waited for its turn");
    }
    absl::SleepFor(absl::Microseconds(std::min(left_us, kAskAgainUs)));
    left_us = slot.begins_us - options_.clock->MonotonicUs();
  }
  Began(request, slot);
  return absl::OkStatus();
}

void ResourceManager::NoteRefusal(const Request& request) {
  metrics_->Of(request).memory_errors->Increment();
  Log(/*tell=*/true, request, "needs more memory than it may have", false, 0);
}

std::string ResourceManager::MetricsText() const {
  return prometheus::TextSerializer().Serialize(metrics_->registry.Collect());
}

}  // namespace corpgrid::resources
