#include "agent/hours.h"

#include "gtest/gtest.h"

namespace corpgrid::agent {
namespace {

enum Day : uint8_t { kSunday, kMonday, kTuesday, kFriday = 5, kSaturday };

int At(int hour, int minute = 0) { return 60 * hour + minute; }

TEST(HoursTest, WithoutAnyADeviceIsAlwaysLent) {
  EXPECT_TRUE(Hours().Include(kSunday, 0));
  EXPECT_TRUE(Hours::Parse({})->Include(kSaturday, At(23, 59)));
}

TEST(HoursTest, AWindowGoesIntoTheNextDay) {
  const Hours night = *Hours::Parse({"18:00-8:00"});
  for (const int day : {kSunday, kMonday, kSaturday}) {
    EXPECT_TRUE(night.Include(day, At(18)));
    EXPECT_TRUE(night.Include(day, At(7, 59)));
    EXPECT_FALSE(night.Include(day, At(8)));
    EXPECT_FALSE(night.Include(day, At(17, 59)));
  }
}

TEST(HoursTest, ItsDayIsTheOneThatItBeginsOn) {
  const Hours nights = *Hours::Parse({"mon-fri 18:00-08:00"});
  EXPECT_FALSE(nights.Include(kMonday, At(7))) << "Sunday's night";
  EXPECT_TRUE(nights.Include(kTuesday, At(7)));
  EXPECT_TRUE(nights.Include(kFriday, At(23)));
  EXPECT_TRUE(nights.Include(kSaturday, At(7)));
  EXPECT_FALSE(nights.Include(kSaturday, At(18)));
}

TEST(HoursTest, WindowsAddUp) {
  const Hours hours = *Hours::Parse({"mon 12:00-24:00", "sat-sun", "fri,mon 1:00-2:30"});
  EXPECT_TRUE(hours.Include(kMonday, At(23, 59)));
  EXPECT_TRUE(hours.Include(kMonday, At(2, 29)));
  EXPECT_FALSE(hours.Include(kMonday, At(2, 30)));
  EXPECT_FALSE(hours.Include(kTuesday, 0));
  EXPECT_TRUE(hours.Include(kSaturday, 0));
  EXPECT_TRUE(hours.Include(kSunday, At(23, 59)));
  EXPECT_EQ(hours.text(), "mon 12:00-24:00; sat-sun; fri,mon 1:00-2:30");
}

TEST(HoursTest, WhatIsNoneIsRefusedByName) {
  for (const char* wrong : {"", "later", "18:00", "18-8", "25:00-8:00", "18:60-8:00", "8:00-8:00",
                            "24:00-8:00", "mon- 8:00-9:00", "monday 8:00-9:00", "8:00-9:00 mon",
                            "mon 8:00-9:00 x", "-1:00-2:00", "8:0-9:00", "mon 8:00"}) {
    const auto hours = Hours::Parse({wrong});
    ASSERT_FALSE(hours.ok()) << wrong;
    EXPECT_EQ(hours.status().message(),
              "\"" + std::string(wrong) +
                  "\" are no hours: write 18:00-08:00, mon-fri 18:00-08:00 or sat,sun");
  }
}

}  // namespace
}  // namespace corpgrid::agent
