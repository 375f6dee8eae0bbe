#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "core/test_grid.h"
#include "gtest/gtest.h"

namespace corpgrid::core {

inline constexpr uint64_t kGiB = 1ull << 30;

class ProjectsTest : public ::testing::Test, protected TestGrid {
 protected:
  static job::JobFields Fields(const std::string& project, uint32_t shards, uint32_t cpus = 1,
                               uint64_t memory_bytes = kGiB) {
    job::JobFields fields;
    fields.name = "test";
    fields.command = {"/bin/true"};
    fields.project = project;
    fields.shards = shards;
    fields.retries = 0;
    fields.resources.cpus = cpus;
    fields.resources.memory_bytes = memory_bytes;
    return fields;
  }

  Reply TrySubmit(const job::JobFields& fields, const std::string& key) {
    return Apply(SubmitJob{.idempotency_key = key,
                           .spec = *job::JobSpec::Make(fields),
                           .spec_hash = {},
                           .bundle_hash = {},
                           .bundle_bytes = 0,
                           .submitter_key = "",
                           .signature = ""})
        .reply;
  }

  std::string WhyNot(const job::JobFields& fields) {
    const Reply reply = TrySubmit(fields, "refused " + std::to_string(commands_));
    const auto* status = std::get_if<absl::Status>(&reply);
    return status ? std::string(status->message()) : "accepted";
  }

  absl::Status Do(decltype(Command::body) body) {
    return std::get<absl::Status>(Apply(std::move(body)).reply);
  }

  void Set(const SetProject& set) { EXPECT_TRUE(Do(set).ok()); }

  DeviceId JoinWith(const std::string& owner, uint32_t cpus, uint64_t memory_bytes) {
    const DeviceId id = Join(owner);
    Refit(id, cpus, memory_bytes);
    return id;
  }

  void Refit(DeviceId id, uint32_t cpus, uint64_t memory_bytes, uint32_t backends = 1) {
    RegisterDevice again{.device = devices_.at(id), .join_secret_hash = {}};
    again.device.cpus = cpus;
    again.device.memory_bytes = memory_bytes;
    again.device.backends = backends;
    Apply(again);
  }

  ProjectView View(const std::string& name) {
    const Effects effects = Apply(ViewProjects{});
    for (const ProjectView& view : std::get<std::vector<ProjectView>>(effects.reply)) {
      if (view.row.name == name) return view;
    }
    ADD_FAILURE() << "no project " << name;
    return {};
  }

  // How many of the leases are of jobs of this project.
  size_t Of(const std::string& project, const std::vector<Lease>& leases) const {
    return static_cast<size_t>(std::count_if(leases.begin(), leases.end(), [&](const Lease& l) {
      return (*job::JobSpec::Decode(jobs_.at(l.shard.job).spec))->project == project;
    }));
  }

  std::vector<std::string> Why(JobId job) {
    return std::get<std::vector<std::string>>(Apply(WhyJob{job}).reply);
  }
};

}  // namespace corpgrid::core
