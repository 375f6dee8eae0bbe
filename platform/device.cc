#include "platform/device.h"

#include <fmt/format.h>
#include <gnu/libc-version.h>
#include <sched.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <memory>
#include <string_view>

#include "base/status_macros.h"
#include "platform/file.h"

namespace corpgrid::platform {
namespace {

uint32_t UsableCpus() {
  // The kernel refuses a mask that is smaller than its own, so grow until it fits.
  for (int cpus = 1024; cpus <= 1 << 20; cpus *= 2) {
    std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> mask(CPU_ALLOC(cpus),
                                                          [](cpu_set_t* set) { CPU_FREE(set); });
    if (sched_getaffinity(0, CPU_ALLOC_SIZE(cpus), mask.get()) == 0) {
      return CPU_COUNT_S(CPU_ALLOC_SIZE(cpus), mask.get());
    }
  }
  return 1;
}

uint64_t LimitIn(const std::string& file) {
  absl::StatusOr<std::string> text = ReadSmallFile(file);
  if (!text.ok()) return UINT64_MAX;
  uint64_t bytes = 0;
  auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), bytes);
  return error == std::errc() ? bytes : UINT64_MAX;  // "max"
}

std::string OsName() {
  std::string name = "Linux";
  absl::StatusOr<std::string> release = ReadSmallFile("/etc/os-release");
  constexpr std::string_view kKey = "PRETTY_NAME=\"";
  if (release.ok()) {
    size_t start = release->find(kKey);
    if (start != std::string::npos) {
      start += kKey.size();
      name = release->substr(start, release->find('"', start) - start);
    }
  }
  return name;
}

// By the kernel's own name for it; other architectures than x86 have no such line.
std::string ProcessorName() {
  const absl::StatusOr<std::string> text = ReadSmallFile("/proc/cpuinfo");
  constexpr std::string_view kKey = "model name\t: ";
  const size_t start = text.ok() ? text->find(kKey) : std::string::npos;
  if (start == std::string::npos) return "";
  const size_t begin = start + kKey.size();
  return text->substr(begin, text->find('\n', begin) - begin);
}

}  // namespace

absl::StatusOr<DeviceFacts> DiscoverDevice(const std::string& folder) {
  DeviceFacts facts;
  facts.cpus = UsableCpus();

  struct sysinfo memory = {};
  if (sysinfo(&memory) != 0) return SystemError("sysinfo", errno);
  facts.memory_bytes = static_cast<uint64_t>(memory.totalram) * memory.mem_unit;
  absl::StatusOr<std::string> cgroups = ReadSmallFile("/proc/self/cgroup");
  if (cgroups.ok()) {
    facts.memory_bytes =
        std::min(facts.memory_bytes, CgroupMemoryLimit(*cgroups, "/sys/fs/cgroup"));
  }

  struct statvfs disk = {};
  if (statvfs(folder.c_str(), &disk) != 0) return SystemError(folder, errno);
  facts.disk_free_bytes = static_cast<uint64_t>(disk.f_bavail) * disk.f_frsize;

  struct utsname system = {};
  if (uname(&system) != 0) return SystemError("uname", errno);
  facts.hostname = system.nodename;
  const std::string processor = ProcessorName();
  facts.drivers = fmt::format("{}, glibc {}", processor.empty() ? system.machine : processor,
                              gnu_get_libc_version());
  facts.os = fmt::format("{}, {} {}", OsName(), system.sysname, system.release);
  return facts;
}

uint64_t CgroupMemoryLimit(const std::string& cgroups, const std::string& root) {
  uint64_t limit = UINT64_MAX;
  for (size_t at = 0; at < cgroups.size();) {
    size_t end = std::min(cgroups.find('\n', at), cgroups.size());
    std::string_view line = std::string_view(cgroups).substr(at, end - at);
    at = end + 1;

    // "ID:CONTROLLERS:PATH"; v2 has no controllers there.
    size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string_view::npos || second == std::string_view::npos) continue;
    std::string_view controllers = line.substr(first + 1, second - first - 1);
    bool v1 = fmt::format(",{},", controllers).find(",memory,") != std::string::npos;
    if (!v1 && !controllers.empty()) continue;

    std::string path(line.substr(second + 1));
    for (;;) {
      limit = std::min(limit, LimitIn(v1 ? root + "/memory" + path + "/memory.limit_in_bytes"
                                         : root + path + "/memory.max"));
      size_t parent = path.find_last_of('/');
      if (parent == std::string::npos) break;
      path.resize(parent);
    }
  }
  return limit;
}

}  // namespace corpgrid::platform
