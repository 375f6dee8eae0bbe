#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "sim/test_mutants.h"

// Schedulers that share the grid wrongly.
namespace corpgrid::sim {

// Goes by other weights and quotas than it was told and writes down.
struct BendsProjects : Seams {
  explicit BendsProjects(std::function<void(core::ProjectRow*)> bend) : bend(std::move(bend)) {}
  void BeforeApply(Body* body) override {
    if (std::holds_alternative<core::RemoveProject>(*body)) *body = core::FindJob{};
    auto* set = std::get_if<core::SetProject>(body);
    if (!set) return;
    core::ProjectRow& row = told[set->name];
    row.name = set->name;
    row.weight = set->weight.value_or(row.weight);
    row.max_running = set->max_running.value_or(row.max_running);
    core::ProjectRow bent = row;
    bend(&bent);
    set->weight = bent.weight;
    set->max_running = bent.max_running;
  }
  bool BeforeWrite(core::WriteBatch* rows) override {
    for (core::ProjectRow& row : rows->projects) {
      if (row.removed) continue;
      row.weight = told[row.name].weight;
      row.max_running = told[row.name].max_running;
    }
    return true;
  }
  void AfterLoad(core::Snapshot* snapshot) override {
    told.clear();
    for (core::ProjectRow& row : snapshot->projects) {
      if (row.removed) continue;
      told[row.name] = row;
      bend(&row);
    }
  }
  std::function<void(core::ProjectRow*)> bend;
  std::map<std::string, core::ProjectRow> told;
};

// Believes that every job asks for one CPU, and counts that.
struct CountsOneCpuForAll : Seams {
  void BeforeApply(Body* body) override {
    auto* submit = std::get_if<core::SubmitJob>(body);
    if (!submit) return;
    job::JobFields fields = *submit->spec;
    fields.resources.cpus = 1;
    submit->spec = *job::JobSpec::Make(std::move(fields));
  }
};

struct PutsJobsIntoOneProject : Seams {
  void BeforeApply(Body* body) override {
    auto* submit = std::get_if<core::SubmitJob>(body);
    if (!submit) return;
    job::JobFields fields = *submit->spec;
    fields.project = "default";
    submit->spec = *job::JobSpec::Make(std::move(fields));
  }
};

struct LosesProjects : Seams {
  bool BeforeWrite(core::WriteBatch* rows) override {
    rows->projects.clear();
    return true;
  }
};

inline std::vector<Mutant> ProjectMutants() {
  return {
      Make<BendsProjects>("QuotasAreOneOff",
                          [](core::ProjectRow* row) {
                            if (row->max_running != core::ProjectRow::kNoLimit) ++row->max_running;
                          }),
      Make<BendsProjects>("IgnoresWeights", [](core::ProjectRow* row) { row->weight = 1; }),
      Make<CountsOneCpuForAll>("CountsOneCpuForAll"),
      Make<PutsJobsIntoOneProject>("PutsJobsIntoOneProject"),
      Make<LosesProjects>("LosesProjects"),
      Make<Forgets>("ForgetsQuotas",
                    [](core::Snapshot* s) {
                      for (auto& row : s->projects) row = {.name = row.name, .weight = row.weight};
                    }),
  };
}

}  // namespace corpgrid::sim
