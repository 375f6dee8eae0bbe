#include "platform/device.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

namespace corpgrid::platform {
namespace {

class FolderTest : public testing::Test {
 protected:
  FolderTest() {
    char name[] = "/tmp/corpgrid-device-XXXXXX";
    root_ = mkdtemp(name);
  }
  ~FolderTest() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& file, const std::string& text) {
    std::filesystem::path path = root_ + "/" + file;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text << "\n";
  }

  std::string root_;
};

using Power = FolderTest;
using Cgroup = FolderTest;
using Thermal = FolderTest;

TEST_F(Power, DesktopWithoutSuppliesIsOnMains) {
  EXPECT_EQ(ReadPower(root_).source, PowerSource::kMains);
  EXPECT_EQ(ReadPower(root_).charge_percent, -1);
  EXPECT_EQ(ReadPower(root_ + "/absent").source, PowerSource::kMains);
}

TEST_F(Power, LaptopOnBattery) {
  Write("AC/type", "Mains");
  Write("AC/online", "0");
  Write("BAT0/type", "Battery");
  Write("BAT0/status", "Discharging");
  Write("BAT0/capacity", "40");
  Write("BAT1/type", "Battery");
  Write("BAT1/status", "Unknown");
  Write("BAT1/capacity", "80");
  PowerStatus power = ReadPower(root_);
  EXPECT_EQ(power.source, PowerSource::kBattery);
  EXPECT_EQ(power.charge_percent, 60);

  Write("AC/online", "1");
  EXPECT_EQ(ReadPower(root_).source, PowerSource::kMains);
}

TEST_F(Power, MouseBatteryIsNotTheMachines) {
  Write("hidpp_battery_0/type", "Battery");
  Write("hidpp_battery_0/scope", "Device");
  Write("hidpp_battery_0/status", "Discharging");
  Write("hidpp_battery_0/capacity", "5");
  EXPECT_EQ(ReadPower(root_).source, PowerSource::kMains);
  EXPECT_EQ(ReadPower(root_).charge_percent, -1);
}

TEST_F(Cgroup, TightestLimitOnTheWayToTheRoot) {
  Write("memory.max", "max");
  Write("a/memory.max", "1000");
  Write("a/b/memory.max", "max");
  EXPECT_EQ(CgroupMemoryLimit("0::/a/b", root_), 1000u);
  EXPECT_EQ(CgroupMemoryLimit("0::/", root_), UINT64_MAX);
  Write("memory/x/memory.limit_in_bytes", "500");
  EXPECT_EQ(CgroupMemoryLimit("4:cpu,memory:/x\n0::/a/b", root_), 500u);
  EXPECT_EQ(CgroupMemoryLimit("4:cpu:/x\n0::/a/b", root_), 1000u);
}

TEST(Device, SaysWhatThisMachineHas) {
  auto facts = DiscoverDevice("/tmp");
  ASSERT_TRUE(facts.ok()) << facts.status();
  EXPECT_GE(facts->cpus, 1u);
  EXPECT_GT(facts->memory_bytes, 64u << 20);
  EXPECT_GT(facts->disk_free_bytes, 0u);
  EXPECT_FALSE(facts->hostname.empty());
  EXPECT_NE(facts->os.find("Linux"), std::string::npos);
  EXPECT_FALSE(DiscoverDevice("/absent/folder").ok());
}

TEST(Device, CountsOnlyCpusThatTheMaskAllows) {
  std::thread pinned([] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    EXPECT_EQ(DiscoverDevice("/")->cpus, 1u);
  });
  pinned.join();
}

TEST_F(Thermal, TheHottestSensorCounts) {
  Write("hwmon0/temp1_input", "55000");
  Write("hwmon0/temp1_crit", "100000");
  Write("hwmon0/temp1_max", "60000");
  EXPECT_DOUBLE_EQ(ReadThermalHeadroom(root_).value(), 0.75) << "the critical limit is the limit";
  Write("hwmon1/temp3_input", "75000");
  Write("hwmon1/temp3_max", "80000");
  EXPECT_DOUBLE_EQ(ReadThermalHeadroom(root_).value(), 0.125);
  Write("hwmon1/temp3_input", "81000");
  EXPECT_DOUBLE_EQ(ReadThermalHeadroom(root_).value(), 0);
  Write("hwmon1/temp3_input", "20000");
  Write("hwmon0/temp1_input", "-5000");
  EXPECT_DOUBLE_EQ(ReadThermalHeadroom(root_).value(), 1);
}

TEST_F(Thermal, WithoutASensorAndItsLimitNothingIsKnown) {
  EXPECT_FALSE(ReadThermalHeadroom(root_ + "/absent").has_value());
  Write("hwmon0/temp1_input", "55000");
  EXPECT_FALSE(ReadThermalHeadroom(root_).has_value());
  Write("hwmon0/temp1_crit", "0");
  EXPECT_FALSE(ReadThermalHeadroom(root_).has_value());
  Write("hwmon0/temp1_crit", "65261850");
  EXPECT_FALSE(ReadThermalHeadroom(root_).has_value()) << "no limit, in some drivers";
  Write("hwmon0/temp1_crit", "hot");
  EXPECT_FALSE(ReadThermalHeadroom(root_).has_value());
}

}  // namespace
}  // namespace corpgrid::platform
