#include "core/placement.h"

#include <algorithm>

#include "base/text.h"
#include "fmt/format.h"

namespace corpgrid::core {
namespace {

std::string BackendNames(uint32_t backends) {
  std::string names;
  for (unsigned i = 0; i < 32; ++i) {
    if ((backends >> i & 1) == 0) continue;
    names +=
        fmt::format("{}{}", names.empty() ? "" : " or ", job::ToText(static_cast<job::Backend>(i)));
  }
  return names;
}

double Share(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0 : std::min(1.0, static_cast<double>(part) / static_cast<double>(whole));
}

bool Contains(const std::vector<std::string>& texts, const std::string& text) {
  return std::find(texts.begin(), texts.end(), text) != texts.end();
}

}  // namespace

Requirements Requirements::Of(const job::JobSpec& spec) {
  Requirements want;
  for (const job::Backend backend : spec->resources.backends) {
    want.backends |= 1u << static_cast<unsigned>(backend);
  }
  want.cpus = spec->resources.cpus;
  want.memory_bytes = spec->resources.memory_bytes;
  want.vram_bytes = spec->resources.vram_bytes;
  want.network = spec->limits.network;
  want.protocol = spec.Protocol();
  want.attested = spec->placement.attested;
  want.labels = spec->placement.labels;
  want.sites = spec->placement.sites;
  return want;
}

bool Fits(const Requirements& want, const DeviceRow& has) {
  return (want.backends & has.backends) != 0 && want.cpus <= has.cpus &&
         want.memory_bytes <= has.memory_bytes && want.vram_bytes <= has.vram_bytes &&
         (!want.network || has.network_allowed) && want.protocol <= has.protocol &&
         (!want.attested || has.attestation != Attestation::kUnattested) &&
         (want.sites.empty() || Contains(want.sites, has.site)) &&
         std::all_of(want.labels.begin(), want.labels.end(),
                     [&](const std::string& label) { return Contains(has.labels, label); });
}

std::string Misfit(const Requirements& want, const DeviceRow& has) {
  if ((want.backends & has.backends) == 0) {
    return fmt::format("it has no {} backend", BackendNames(want.backends));
  }
  if (want.cpus > has.cpus) return fmt::format("it has {} CPUs, not {}", has.cpus, want.cpus);
  if (want.memory_bytes > has.memory_bytes) {
    return fmt::format("it has {} of memory, not {}", FormatBytes(has.memory_bytes),
                       FormatBytes(want.memory_bytes));
  }
  if (want.vram_bytes > has.vram_bytes) {
    return fmt::format("it has {} of video memory, not {}", FormatBytes(has.vram_bytes),
                       FormatBytes(want.vram_bytes));
  }
  if (want.network && !has.network_allowed) {
    return "its owner does not let jobs use the network";
  }
  if (want.protocol > has.protocol) {
    return fmt::format(
        "its agent speaks protocol version {} and understands such jobs from version {} on; "
        "upgrade "
        "the agent",
        has.protocol, want.protocol);
  }
  if (want.attested && has.attestation == Attestation::kUnattested) {
    return "it is unattested";
  }
  if (!want.sites.empty() && !Contains(want.sites, has.site)) {
    const std::string sites = fmt::format("{}", fmt::join(want.sites, " or "));
    return has.site.empty() ? fmt::format("it stands nowhere that is known, not in {}", sites)
                            : fmt::format("it stands in {}, not in {}", has.site, sites);
  }
  for (const std::string& label : want.labels) {
    if (!Contains(has.labels, label)) return fmt::format("it has no label {}", label);
  }
  return "";
}

double Fit(const Requirements& want, const DeviceRow& has) {
  return want.vram_bytes > 0 ? Share(want.vram_bytes, has.vram_bytes)
                             : Share(want.memory_bytes, has.memory_bytes);
}

double Unlikeness(const DeviceRow& a, const DeviceRow& b) {
  return (a.site != b.site ? 0.4 : 0) + (a.backends != b.backends ? 0.2 : 0) +
         (a.drivers != b.drivers ? 0.2 : 0) + (a.version != b.version ? 0.2 : 0);
}

}  // namespace corpgrid::core
