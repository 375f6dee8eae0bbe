#include "agent/outputs.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "agent/testing.h"

namespace corpgrid::agent {
namespace {

namespace fs = std::filesystem;

class OutputsTest : public ::testing::Test {
 protected:
  OutputsTest() {
    fs::create_directory(work_);
    fs::create_directory(spool_);
    fd_ = UniqueFd(open(work_.c_str(), O_PATH | O_DIRECTORY));
    Write(folder_.path() + "/secret", "secret");
  }
  static void Write(const std::string& path, const std::string& data) {
    std::ofstream(path, std::ios::binary) << data;
  }
  Collection Collect(std::vector<std::string> names, uint64_t limit_bytes = 1 << 20) {
    return CollectOutputs(fd_.get(), names, limit_bytes, spool_ + "/7-").value();
  }
  void ExpectMissing(const std::string& name) {
    const Collection collection = Collect({name});
    EXPECT_EQ(collection.outcome, job::Outcome::kOutputMissing) << name;
    EXPECT_TRUE(collection.outputs.empty());
    EXPECT_NE(collection.detail.find("\"" + name + "\""), std::string::npos) << collection.detail;
  }

  corpgrid::testing::TempFolder folder_;
  const std::string work_ = folder_.path() + "/work";
  const std::string spool_ = folder_.path() + "/spool";
  UniqueFd fd_;
};

TEST_F(OutputsTest, TakesSmallFilesToMemoryInTheirOrder) {
  fs::create_directory(work_ + "/sub");
  Write(work_ + "/b", "bytes of b");
  Write(work_ + "/sub/a", "");
  const Collection collection = Collect({"b", "sub/a"});
  ASSERT_EQ(collection.outputs.size(), 2u);
  EXPECT_EQ(collection.outcome, job::Outcome::kExited);
  EXPECT_EQ(collection.outputs[0].data, "bytes of b");
  EXPECT_EQ(collection.outputs[0].output, (job::Output{"b", crypto::Blake3("bytes of b"), 10}));
  EXPECT_EQ(collection.outputs[1].output, (job::Output{"sub/a", crypto::Blake3(""), 0}));
}

TEST_F(OutputsTest, SpoolsWhatIsLarge) {
  const std::string large(300'000, 'x');
  Write(work_ + "/large", large);
  const Collection collection = Collect({"large"});
  ASSERT_EQ(collection.outputs.size(), 1u);
  ASSERT_FALSE(collection.outputs[0].in_memory());
  EXPECT_EQ(collection.outputs[0].output.hash, crypto::Blake3(large));
  fs::remove(work_ + "/large");
  EXPECT_EQ(ReadAt(collection.outputs[0].file.get(), 0, 1 << 20).value(), large);
  EXPECT_TRUE(fs::exists(spool_ + "/7-0")) << "there for the next run of the agent";
}

TEST_F(OutputsTest, ManySmallOnesDoNotFillTheMemory) {
  for (const char* name : {"a", "b", "c"}) Write(work_ + "/" + name, std::string(40'000, 'x'));
  const Collection collection = Collect({"a", "b", "c"});
  EXPECT_TRUE(collection.outputs[0].in_memory());
  EXPECT_FALSE(collection.outputs[1].in_memory());
  EXPECT_FALSE(collection.outputs[2].in_memory());
}

TEST_F(OutputsTest, WhatIsNoRegularFileInTheFolderIsMissing) {
  ExpectMissing("nothing");
  fs::create_directory(work_ + "/folder");
  ExpectMissing("folder");
  fs::create_symlink("../secret", work_ + "/link");
  ExpectMissing("link");
  fs::create_symlink("..", work_ + "/up");
  ExpectMissing("up/secret");
  fs::create_symlink("/proc/self/root", work_ + "/magic");
  ExpectMissing("magic/etc/passwd");
  Write(work_ + "/file", "");
  ExpectMissing("file/below");
  ExpectMissing("../secret");
  ASSERT_EQ(mkfifo((work_ + "/fifo").c_str(), 0600), 0);
  ExpectMissing("fifo");
  const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un address{AF_UNIX, {}};
  (work_ + "/socket").copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ExpectMissing("socket");
}

TEST_F(OutputsTest, AllOutputsTogetherKeepTheLimit) {
  Write(work_ + "/a", std::string(600, 'x'));
  Write(work_ + "/b", std::string(600, 'x'));
  EXPECT_EQ(Collect({"a", "b"}, 1200).outcome, job::Outcome::kExited);
  const Collection collection = Collect({"a", "b"}, 1199);
  EXPECT_EQ(collection.outcome, job::Outcome::kOutputLimit);
  EXPECT_TRUE(collection.outputs.empty());
}

TEST_F(OutputsTest, ASparseGiantIsNeverRead) {
  Write(work_ + "/giant", "");
  fs::resize_file(work_ + "/giant", 1ull << 40);
  EXPECT_EQ(Collect({"giant"}).outcome, job::Outcome::kOutputLimit);
}

TEST_F(OutputsTest, ABrokenSpoolIsTheDevicesFault) {
  Write(work_ + "/large", std::string(100'000, 'x'));
  fs::remove(spool_);
  EXPECT_FALSE(
      CollectOutputs(fd_.get(), std::vector<std::string>{"large"}, 1 << 20, spool_ + "/7-").ok());
}

}  // namespace
}  // namespace corpgrid::agent
