#include "agent/bundle_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "agent/files.h"
#include "agent/testing.h"
#include "objects/bundle.h"

namespace corpgrid::agent {
namespace {

namespace fs = std::filesystem;

class BundleCacheTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kFileBytes = 100'000;

  BundleCacheTest() { Open(10 * kFileBytes); }

  void Open(uint64_t max_bytes) {
    cache_.reset();
    cache_ = BundleCache::Open(folder_.path() + "/cache", max_bytes).value();
  }
  // The archive of a bundle that holds one file.
  std::string Archive(char content) {
    const std::string source = folder_.path() + "/source";
    fs::create_directories(source);
    std::ofstream(source + "/file") << std::string(kFileBytes, content);
    std::string archive;
    EXPECT_TRUE(objects::PackBundle(source, [&archive](std::string_view data) {
                  archive.append(data);
                  return absl::OkStatus();
                }).ok());
    return archive;
  }
  absl::StatusOr<std::shared_ptr<const Bundle>> Get(const std::string& archive) {
    return cache_->Get(crypto::Blake3(archive), archive.size(), [&](int fd) {
      ++downloads_;
      return WriteAll(fd, archive);
    });
  }
  bool IsThere(const std::string& archive) {
    return fs::exists(folder_.path() + "/cache/" + crypto::Blake3(archive).Hex());
  }
  bool ScratchIsEmpty() { return fs::is_empty(folder_.path() + "/cache/tmp"); }

  corpgrid::testing::TempFolder folder_;
  std::unique_ptr<BundleCache> cache_;
  std::atomic<int> downloads_ = 0;
};

TEST_F(BundleCacheTest, UnpacksOnceAndFindsItAgainAfterARestart) {
  const std::string archive = Archive('a');
  const auto bundle = Get(archive).value();
  EXPECT_EQ(fs::file_size(bundle->folder + "/file"), kFileBytes);
  EXPECT_EQ(Get(archive).value(), bundle);
  Open(10 * kFileBytes);
  EXPECT_EQ(Get(archive).value()->folder, bundle->folder);
  EXPECT_EQ(downloads_, 1);
  EXPECT_TRUE(ScratchIsEmpty());
}

TEST_F(BundleCacheTest, ManyWhoWantItFetchItOnce) {
  const std::string archive = Archive('a');
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      const auto bundle = cache_->Get(crypto::Blake3(archive), archive.size(), [&](int fd) {
        ++downloads_;
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        return WriteAll(fd, archive);
      });
      EXPECT_TRUE(bundle.ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(downloads_, 1);
}

TEST_F(BundleCacheTest, AFailedDownloadIsTriedAnew) {
  const std::string archive = Archive('a');
  const auto failed = cache_->Get(crypto::Blake3(archive), archive.size(), [](int fd) {
    EXPECT_TRUE(WriteAll(fd, "half of it").ok());
    return absl::DataLossError("other bytes");
  });
  EXPECT_TRUE(absl::IsDataLoss(failed.status()));
  EXPECT_FALSE(IsThere(archive));
  EXPECT_TRUE(Get(archive).ok());
}

TEST_F(BundleCacheTest, WhatIsNoArchiveLeavesNothingBehind) {
  EXPECT_TRUE(absl::IsInvalidArgument(Get(std::string(4096, 'x')).status()));
  EXPECT_TRUE(ScratchIsEmpty());
}

TEST_F(BundleCacheTest, TheOneNotUsedForLongestGoesFirst) {
  Open(5 * kFileBytes / 2);
  const std::string a = Archive('a'), b = Archive('b'), c = Archive('c');
  ASSERT_TRUE(Get(a).ok());
  ASSERT_TRUE(Get(b).ok());
  ASSERT_TRUE(Get(a).ok());
  ASSERT_TRUE(Get(c).ok());
  EXPECT_TRUE(IsThere(a));
  EXPECT_FALSE(IsThere(b));
  EXPECT_TRUE(IsThere(c));
}

TEST_F(BundleCacheTest, WhatIsInUseStays) {
  Open(3 * kFileBytes / 2);
  const std::string a = Archive('a'), b = Archive('b');
  const auto used = Get(a).value();
  ASSERT_TRUE(Get(b).ok());
  EXPECT_TRUE(IsThere(a));
}

TEST_F(BundleCacheTest, ARestartDeletesWhatWasInterrupted) {
  fs::create_directories(folder_.path() + "/cache/tmp/half/unpacked");
  Open(10 * kFileBytes);
  EXPECT_TRUE(ScratchIsEmpty());
}

}  // namespace
}  // namespace corpgrid::agent
