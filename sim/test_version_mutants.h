#pragma once

#include <vector>

#include "base/version.h"
#include "sim/test_mutants.h"

// Schedulers that lease agents what they do not understand.
namespace corpgrid::sim {

// Takes every agent for one that understands all.
struct IgnoresVersions : Seams {
  void BeforeApply(Body* body) override {
    if (auto* join = std::get_if<core::RegisterDevice>(body)) join->device.protocol = kProtocol;
  }
};

inline std::vector<Mutant> VersionMutants() {
  return {
      Make<IgnoresVersions>("IgnoresVersions"),
      Make<Forgets>("ForgetsVersions",
                    [](core::Snapshot* s) {
                      for (core::DeviceRow& device : s->devices) device.protocol = kProtocol;
                    }),
  };
}

}  // namespace corpgrid::sim
