#include "agent/condition.h"

#include <time.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "agent/testing.h"
#include "gtest/gtest.h"

namespace corpgrid::agent {
namespace {

class ConditionTest : public ::testing::Test {
 protected:
  ConditionTest() {
    Write("hwmon/hwmon0/temp1_input", "70000");
    Write("hwmon/hwmon0/temp1_crit", "100000");
    Write("power/BAT0/type", "Battery");
    Write("power/BAT0/status", "Discharging");
    Write("power/BAT0/capacity", "40");
  }

  void Write(const std::string& file, const std::string& text) {
    const std::filesystem::path path = folder_ / file;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text << "\n";
  }

  // A day of 2026 in this machine's own time.
  static int64_t At(int day_of_june, int hour) {
    tm local{};
    local.tm_year = 126;
    local.tm_mon = 5;
    local.tm_mday = day_of_june;
    local.tm_hour = hour;
    local.tm_isdst = -1;
    return int64_t{mktime(&local)} * 1000;
  }

  ConditionReader Reader(const std::vector<std::string>& hours = {}) {
    return {{.power_supply = folder_ / "power",
             .hwmon = folder_ / "hwmon",
             .hours = *Hours::Parse(hours)},
            &clock_};
  }

  testing::TempFolder folder_;
  TestClock clock_;
};

TEST_F(ConditionTest, TellsPowerAndHeat) {
  ConditionReader reader = Reader();
  const auto condition = reader.Now();
  EXPECT_EQ(condition.source(), corpgrid::v1::Condition::BATTERY);
  EXPECT_EQ(condition.charge_percent(), 40);
  EXPECT_DOUBLE_EQ(condition.thermal_headroom(), 0.5);
  EXPECT_EQ(condition.closed(), "");
}

TEST_F(ConditionTest, IsReadAgainWhenItIsOld) {
  ConditionReader reader = Reader();
  reader.Now();
  Write("hwmon/hwmon0/temp1_input", "100000");
  clock_.now_ms += 1999;
  EXPECT_DOUBLE_EQ(reader.Now().thermal_headroom(), 0.5);
  clock_.now_ms += 1;
  EXPECT_DOUBLE_EQ(reader.Now().thermal_headroom(), 0);
  std::filesystem::remove_all(folder_ / "hwmon");
  clock_.now_ms += 2000;
  EXPECT_FALSE(reader.Now().has_thermal_headroom());
}

TEST_F(ConditionTest, IsClosedOutsideTheHours) {
  ConditionReader reader = Reader({"mon-fri 18:00-08:00"});
  clock_.now_ms = At(1, 12);  // a Monday
  EXPECT_EQ(reader.Now().closed(), "outside its owner's hours (mon-fri 18:00-08:00)");
  clock_.now_ms = At(1, 18);
  EXPECT_EQ(reader.Now().closed(), "");
  clock_.now_ms = At(7, 20);  // a Sunday
  EXPECT_NE(reader.Now().closed(), "");
}

}  // namespace
}  // namespace corpgrid::agent
