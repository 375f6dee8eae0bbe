#include "platform/load.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/testing/temp_folder.h"

namespace corpgrid::platform {
namespace {

void Write(const std::string& path, const std::string& text) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path) << text;
}

class LoadTest : public ::testing::Test {
 protected:
  const corpgrid::testing::TempFolder folder_;
  const std::string none_ = folder_.path() + "/none";
};

TEST_F(LoadTest, AMachineWithoutGpusTellsNothing) {
  EXPECT_EQ(GpuLoad({.nvml = none_, .drm = none_}).Percent(), std::nullopt);
}

TEST_F(LoadTest, ReadsWhatAmdsDriverTells) {
  Write(folder_.path() + "/drm/card0/device/vendor", "0x8086\n");
  Write(folder_.path() + "/drm/card1/device/gpu_busy_percent", "31\n");
  Write(folder_.path() + "/drm/card2/device/gpu_busy_percent", "64\n");
  Write(folder_.path() + "/drm/card3/device/gpu_busy_percent", "broken\n");
  const GpuLoad load({.nvml = none_, .drm = folder_.path() + "/drm"});
  EXPECT_EQ(load.Percent(), 64u);
}

// platform/testing/nvml.cc: a library of NVML's interface, with two devices.
TEST_F(LoadTest, AsksNvidiasLibrary) {
  setenv("TEST_NVML_PERCENT", "17", 1);
  const GpuLoad load({.nvml = CORPGRID_TEST_NVML, .drm = none_});
  EXPECT_EQ(load.Percent(), 17u);
  setenv("TEST_NVML_PERCENT", "88", 1);
  EXPECT_EQ(load.Percent(), 88u);
  setenv("TEST_NVML_PERCENT", "-1", 1);  // every question fails
  EXPECT_EQ(load.Percent(), std::nullopt);
}

TEST_F(LoadTest, ALibraryThatLacksWhatIsAskedCountsAsNone) {
  EXPECT_EQ(GpuLoad({.nvml = "libz.so.1", .drm = none_}).Percent(), std::nullopt);
}

TEST_F(LoadTest, ProcessorsAreAsBusyAsTheyWereSinceTheLastQuestion) {
  const std::string file = folder_.path() + "/stat";
  CpuLoad load(file);
  Write(file, "cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 2 3\n");
  EXPECT_EQ(load.Percent(), std::nullopt);
  EXPECT_EQ(load.Percent(), std::nullopt);  // no time went by
  Write(file, "cpu  160 0 115 715 110 0 0 0 0 0\n");
  EXPECT_EQ(load.Percent(), 75u);
  Write(file, "nothing of the kind\n");
  EXPECT_EQ(load.Percent(), std::nullopt);
  EXPECT_EQ(CpuLoad(none_).Percent(), std::nullopt);
  CpuLoad own;
  own.Percent();
  EXPECT_LE(own.Percent().value_or(0), 100u);
}

}  // namespace
}  // namespace corpgrid::platform
