#include "rpc/measure.h"

#include <fstream>

#include "base/testing/temp_folder.h"
#include "gtest/gtest.h"

namespace corpgrid::rpc {
namespace {

TEST(MeasureTest, EveryByteAndTheOrderOfTheFilesCount) {
  const corpgrid::testing::TempFolder folder;
  const std::string one = folder / "one", other = folder / "other";
  std::ofstream(one) << std::string(100'000, 'x');
  std::ofstream(other) << "other";
  const crypto::Hash both = *Measure({one, other});
  EXPECT_EQ(*Measure({one, other}), both);
  EXPECT_NE(*Measure({other, one}), both);
  EXPECT_NE(*Measure({one}), both);
  std::ofstream(one) << std::string(99'999, 'x') << 'y';
  EXPECT_NE(*Measure({one, other}), both);
}

TEST(MeasureTest, AFileThatIsNotThereIsNamed) {
  const absl::Status status = Measure({"/proc/self/exe", "/no/such/file"}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(status.message(), "cannot read /no/such/file");
}

}  // namespace
}  // namespace corpgrid::rpc
