// Which device hosts which model: core/hosting.h decides.

#include <utility>

#include "base/status_macros.h"
#include "core/grid.h"

namespace corpgrid::core {

Reply Grid::Do(const LoadModel& c, Effects* effects) {
  absl::StatusOr<ModelRow> row = hosting_.Check(c.model, meta_.time_ms);
  if (!row.ok()) return row.status();
  if (hosting_.Find(row->name) != *row) {
    LogModel(*row, effects);
    effects->rows.models.push_back(*row);
  }
  hosting_.Put(*std::move(row), meta_.time_ms);
  return absl::OkStatus();
}

Reply Grid::Do(const UnloadModel& c, Effects* effects) {
  absl::StatusOr<ModelRow> row = hosting_.Remove(c.name);
  if (!row.ok()) return row.status();
  LogModel(*row, effects);
  effects->rows.models.push_back(*std::move(row));
  return absl::OkStatus();
}

Reply Grid::Do(const WakeModel& c, Effects*) { return hosting_.Wake(c.name, meta_.time_ms); }

Reply Grid::Do(const ReportHost& c, Effects*) {
  const Device* device = FindDevice(c.report.device);
  if (!device) return absl::UnauthenticatedError("unknown device: register first");
  Hosting::Facts facts{.name = device->row.name};
  if (device->row.drained) {
    facts.closed = "it is drained";
  } else if (c.condition.power == Power::kBattery) {
    facts.closed = "it is on battery";
  } else if (!c.condition.closed.empty()) {
    facts.closed = "it is " + c.condition.closed;
  }
  return hosting_.Report(c.report, std::move(facts), meta_.time_ms);
}

Reply Grid::Do(const ViewHosting&, Effects*) { return hosting_.View(meta_.time_ms); }

}  // namespace corpgrid::core
