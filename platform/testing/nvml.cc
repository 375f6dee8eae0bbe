// A library with NVML's interface, for tests: two devices, of which the second is as busy as the
// environment says at this moment; below 0, every question fails.
#include <cstdlib>

namespace {

int Percent() {
  const char* percent = std::getenv("TEST_NVML_PERCENT");
  return percent == nullptr ? 0 : std::atoi(percent);
}

}  // namespace

// NOLINTBEGIN(readability-identifier-naming): the names are NVML's
extern "C" {

struct Utilization {
  unsigned gpu, memory;
};

int nvmlInit_v2() { return 0; }
int nvmlShutdown() { return 0; }

int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = 2;
  return Percent() < 0 ? 999 : 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) {
  static char devices[2];
  *device = &devices[index];
  return 0;
}

int nvmlDeviceGetUtilizationRates(void* device, Utilization* use) {
  void* second = nullptr;
  nvmlDeviceGetHandleByIndex_v2(1, &second);
  *use = {device == second ? static_cast<unsigned>(Percent()) : 3, 50};
  return 0;
}

}  // extern "C"
// NOLINTEND(readability-identifier-naming)
