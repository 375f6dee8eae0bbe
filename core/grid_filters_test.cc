// Which devices a job may run on, and what their condition says.

#include <string>
#include <vector>

#include "core/test_grid.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::core {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class GridFiltersTest : public ::testing::Test, protected TestGrid {
 protected:
  // A device that says of itself what `change` makes of a plain one.
  template <typename Change>
  DeviceId JoinAs(const std::string& owner, const Change& change) {
    const DeviceId id = Join(owner);
    RegisterDevice c;
    c.device = devices_.at(id);
    change(c.device);
    Apply(c);
    return id;
  }

  JobId SubmitTo(const job::Placement& placement) {
    job::JobFields fields;
    fields.name = "test";
    fields.command = {"/bin/true"};
    fields.placement = placement;
    return Submit(fields, "key " + std::to_string(commands_));
  }

  std::vector<std::string> WhyOf(DeviceId device) {
    return std::get<std::vector<std::string>>(Apply(WhyDevice{device}).reply);
  }

  std::vector<std::string> WhyOf(JobId job) {
    return std::get<std::vector<std::string>>(Apply(WhyJob{job}).reply);
  }

  void Beat(DeviceId device, const Condition& condition) {
    Apply(Heartbeat{.device = device, .condition = condition, .attempts = {}});
  }
};

TEST_F(GridFiltersTest, AllLabelsAreNeeded) {
  const DeviceId some = JoinAs("ann", [](DeviceRow& row) { row.labels = {"fast-disk"}; });
  const DeviceId all = JoinAs("bob", [](DeviceRow& row) { row.labels = {"fast-disk", "os=a"}; });
  const JobId job = SubmitTo({.labels = {"os=a", "fast-disk"}, .sites = {}});
  EXPECT_THAT(PollFor(some, 1), IsEmpty());
  EXPECT_THAT(WhyOf(some), Contains("Job 1 does not suit it: it has no label os=a."));
  EXPECT_THAT(WhyOf(job), Contains("1 device may not run it: it has no label os=a."));
  EXPECT_THAT(PollFor(all, 1), SizeIs(1));
}

TEST_F(GridFiltersTest, OneOfTheSitesWillDo) {
  const DeviceId nowhere = Join("ann");
  const DeviceId far = JoinAs("bob", [](DeviceRow& row) { row.site = "Oslo"; });
  const DeviceId near = JoinAs("eve", [](DeviceRow& row) { row.site = "Paris"; });
  SubmitTo({.labels = {}, .sites = {"Berlin", "Paris"}});
  EXPECT_THAT(PollFor(nowhere, 1), IsEmpty());
  EXPECT_THAT(PollFor(far, 1), IsEmpty());
  EXPECT_THAT(WhyOf(nowhere), Contains(HasSubstr("it stands nowhere that is known, not in Berlin "
                                                 "or Paris")));
  EXPECT_THAT(WhyOf(far), Contains(HasSubstr("it stands in Oslo, not in Berlin or Paris")));
  EXPECT_THAT(PollFor(near, 1), SizeIs(1));
}

TEST_F(GridFiltersTest, WhoWantsAttestedDevicesGetsNoOther) {
  const DeviceId any = Join("ann");
  const DeviceId measured =
      JoinAs("bob", [](DeviceRow& row) { row.attestation = Attestation::kMeasured; });
  SubmitTo({.labels = {}, .sites = {}, .attested = true});
  EXPECT_THAT(PollFor(any, 1), IsEmpty());
  EXPECT_THAT(WhyOf(any), Contains("Job 1 does not suit it: it is unattested."));
  EXPECT_THAT(PollFor(measured, 1), SizeIs(1));
}

// A device that waits is found by what it is now, not by what it was when it began to wait.
TEST_F(GridFiltersTest, ALabelThatIsGoneCountsNoMore) {
  const DeviceId ann = JoinAs("ann", [](DeviceRow& row) { row.labels = {"fast-disk"}; });
  EXPECT_THAT(PollFor(ann, 1), IsEmpty());
  RegisterDevice c;
  c.device = devices_.at(ann);
  c.device.labels.clear();
  Apply(c);
  SubmitTo({.labels = {"fast-disk"}, .sites = {}});
  EXPECT_THAT(attempts_, IsEmpty());
}

TEST_F(GridFiltersTest, OutsideItsHoursADeviceGetsNothingAndGivesBack) {
  const DeviceId ann = Join("ann");
  Condition closed = Power::kMains;
  closed.closed = "outside its owner's hours (18:00-08:00)";
  EXPECT_THAT(PollFor(ann, 1), IsEmpty());
  Beat(ann, closed);
  const JobId job = Submit(1, 1, 1);
  EXPECT_THAT(attempts_, IsEmpty());
  EXPECT_THAT(WhyOf(ann), Contains("It is outside its owner's hours (18:00-08:00)."));
  EXPECT_THAT(WhyOf(job), Contains("1 device may not run it: it is outside its owner's hours "
                                   "(18:00-08:00)."));
  const Effects open = Apply(Heartbeat{.device = ann, .condition = Power::kMains, .attempts = {}});
  ASSERT_THAT(open.leases, SizeIs(1));

  const Effects beat = Apply(
      Heartbeat{.device = ann, .condition = closed, .attempts = {{open.leases[0].attempt, 0.5}}});
  const auto& stops = std::get<std::vector<Stop>>(beat.reply);
  ASSERT_THAT(stops, SizeIs(1));
  EXPECT_TRUE(stops[0].give_back);
  EXPECT_EQ(stops[0].reason, "the device is outside its owner's hours (18:00-08:00)");
}

TEST_F(GridFiltersTest, TheCoolerDeviceIsChosen) {
  const DeviceId hot = Join("ann"), cool = Join("bob"), silent = Join("eve");
  Condition condition = Power::kMains;
  for (const auto& [device, headroom] : {std::pair(hot, 0.1), std::pair(cool, 0.9)}) {
    condition.thermal_headroom = headroom;
    Apply(Poll{.device = device, .max_shards = 1, .condition = condition, .held = {}});
  }
  PollFor(silent, 1);
  Submit(3, 1, 1);
  std::vector<DeviceId> order;
  for (const auto& [id, attempt] : attempts_) order.push_back(attempt.device);
  EXPECT_EQ(order, (std::vector<DeviceId>{cool, silent, hot})) << "who does not say counts as half";
}

TEST_F(GridFiltersTest, ReplicasGoToOtherDriversWhereTheyCan) {
  const auto join = [&](const std::string& owner, const std::string& drivers) {
    const DeviceId id = JoinAs(owner, [&](DeviceRow& row) { row.drivers = drivers; });
    PollFor(id, 1);
    return id;
  };
  const DeviceId first = join("ann", "driver 1");
  join("bob", "driver 1");
  const DeviceId other = join("eve", "driver 2");
  Submit(1, 2, 2);
  std::vector<DeviceId> chosen;
  for (const auto& [id, attempt] : attempts_) chosen.push_back(attempt.device);
  EXPECT_EQ(chosen, (std::vector<DeviceId>{first, other}));
}

}  // namespace
}  // namespace corpgrid::core
