#include "platform/load.h"

#include <dlfcn.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <sstream>
#include <system_error>
#include <utility>

#include "platform/file.h"

namespace corpgrid::platform {
namespace {

std::optional<uint32_t> Max(std::optional<uint32_t> one, std::optional<uint32_t> other) {
  return std::max(one, other);  // nothing is less than any value
}

// NVML's C interface, as far as it is used (NVIDIA's nvml.h has it).
using Device = void*;
struct Utilization {
  unsigned gpu, memory;
};
constexpr int kSuccess = 0;

}  // namespace

class GpuLoad::Nvml {
 public:
  static std::unique_ptr<Nvml> Open(const std::string& library) {
    void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) return nullptr;
    std::unique_ptr<Nvml> nvml(new Nvml(handle));
    return nvml->Find() && nvml->init_() == kSuccess ? std::move(nvml) : nullptr;
  }

  // Never unloaded: the driver has threads of its own.
  ~Nvml() {
    if (shutdown_ != nullptr) shutdown_();
  }

  std::optional<uint32_t> Percent() const {
    unsigned devices = 0;
    if (count_(&devices) != kSuccess) return std::nullopt;
    std::optional<uint32_t> most;
    for (unsigned i = 0; i < devices; ++i) {
      Device device = nullptr;
      Utilization use{};
      if (device_(i, &device) != kSuccess || use_(device, &use) != kSuccess) continue;
      most = Max(most, std::min(use.gpu, 100u));
    }
    return most;
  }

 private:
  explicit Nvml(void* handle) : handle_(handle) {}

  template <typename Function>
  bool Find(const char* name, Function* function) {
    *function = reinterpret_cast<Function>(dlsym(handle_, name));
    return *function != nullptr;
  }
  bool Find() {
    return Find("nvmlInit_v2", &init_) && Find("nvmlDeviceGetCount_v2", &count_) &&
           Find("nvmlDeviceGetHandleByIndex_v2", &device_) &&
           Find("nvmlDeviceGetUtilizationRates", &use_) && Find("nvmlShutdown", &shutdown_);
  }

  void* const handle_;
  int (*init_)() = nullptr;
  int (*count_)(unsigned*) = nullptr;
  int (*device_)(unsigned, Device*) = nullptr;
  int (*use_)(Device, Utilization*) = nullptr;
  int (*shutdown_)() = nullptr;
};

GpuLoad::GpuLoad(const Sources& sources) : drm_(sources.drm), nvml_(Nvml::Open(sources.nvml)) {}
GpuLoad::~GpuLoad() = default;

std::optional<uint32_t> GpuLoad::Percent() const {
  std::optional<uint32_t> most;
  if (nvml_ != nullptr) most = nvml_->Percent();
  std::error_code none;
  for (const auto& card : std::filesystem::directory_iterator(drm_, none)) {
    const auto text = ReadSmallFile((card.path() / "device/gpu_busy_percent").string());
    uint32_t percent = 0;
    if (text.ok() &&
        std::from_chars(text->data(), text->data() + text->size(), percent).ec == std::errc()) {
      most = Max(most, std::min(percent, 100u));
    }
  }
  return most;
}

std::optional<uint32_t> CpuLoad::Percent() {
  const auto text = ReadSmallFile(file_);
  if (!text.ok()) return std::nullopt;
  std::istringstream line(*text);
  std::string name;
  uint64_t times[8] = {};  // user, nice, system, idle, iowait, irq, softirq, steal: see proc(5)
  line >> name;
  for (uint64_t& time : times) line >> time;
  if (!line || name != "cpu") return std::nullopt;
  uint64_t all = 0;
  for (const uint64_t time : times) all += time;
  const uint64_t busy = all - times[3] - times[4];
  const absl::MutexLock lock(&mutex_);
  const bool first = all_ == 0;
  const uint64_t of = all - std::exchange(all_, all);
  const uint64_t was_busy = busy - std::exchange(busy_, busy);
  if (first || of == 0) return std::nullopt;
  return static_cast<uint32_t>(std::min<uint64_t>(100, was_busy * 100 / of));
}

}  // namespace corpgrid::platform
