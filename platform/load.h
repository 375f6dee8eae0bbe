#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace corpgrid::platform {

// How busy the graphics processors are, in percent: of NVIDIA by NVML, which is loaded at run time
// where there is one, of AMD by its driver's files. Any thread.
class GpuLoad {
 public:
  struct Sources {
    std::string nvml = "libnvidia-ml.so.1";
    std::string drm = "/sys/class/drm";
  };

  explicit GpuLoad(const Sources& sources);
  GpuLoad() : GpuLoad(Sources()) {}
  ~GpuLoad();

  // Of the busiest one. Nothing: there is none that tells.
  std::optional<uint32_t> Percent() const;

 private:
  class Nvml;

  const std::string drm_;
  const std::unique_ptr<Nvml> nvml_;  // null: no such library, or no device that it knows
};

// How busy the processors are, in percent, between one question and the next. Any thread.
class CpuLoad {
 public:
  explicit CpuLoad(std::string file = "/proc/stat") : file_(std::move(file)) {}

  // Nothing the first time, and where the system does not tell.
  std::optional<uint32_t> Percent();

 private:
  const std::string file_;
  absl::Mutex mutex_;
  uint64_t busy_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t all_ ABSL_GUARDED_BY(mutex_) = 0;
};

// Of what computes: the graphics processors where there are any, else the processors. Any thread.
class DeviceLoad {
 public:
  std::optional<uint32_t> Percent() {
    const std::optional<uint32_t> gpu = gpu_->Percent();
    return gpu ? gpu : cpu_->Percent();
  }

 private:
  std::shared_ptr<GpuLoad> gpu_ = std::make_shared<GpuLoad>();
  std::shared_ptr<CpuLoad> cpu_ = std::make_shared<CpuLoad>();
};

}  // namespace corpgrid::platform
