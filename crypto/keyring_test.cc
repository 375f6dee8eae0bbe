#include "crypto/keyring.h"

#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include "crypto/test_folder.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::crypto {
namespace {

using ::testing::HasSubstr;

PublicKey Key(uint8_t number) {
  PublicKey key;
  key.bytes.fill(number);
  return key;
}

TEST(KeyringTest, AMissingFileTrustsNobody) {
  const TestFolder folder;
  const auto ring = Keyring::Load(folder / "keys");
  ASSERT_TRUE(ring.ok()) << ring.status();
  EXPECT_FALSE(ring->Trusts(Key(1)));
  EXPECT_FALSE(ring->Trusts(PublicKey()));
}

TEST(KeyringTest, ReadsKeysNamesAndComments) {
  const TestFolder folder;
  const std::string path = folder / "keys";
  WriteText(path,
            fmt::format("# who may run jobs\n\n  {}\tAnna Berg  # render\r\n{}", Key(1).ToText(),
                        Key(2).ToText()),
            0644);
  const auto ring = Keyring::Load(path);
  ASSERT_TRUE(ring.ok()) << ring.status();
  EXPECT_TRUE(ring->Trusts(Key(1)));
  EXPECT_TRUE(ring->Trusts(Key(2)));
  EXPECT_FALSE(ring->Trusts(Key(3)));
  ASSERT_EQ(ring->entries().size(), 2u);
  EXPECT_EQ(ring->entries()[0].name, "Anna Berg");
  EXPECT_EQ(ring->entries()[1].name, "");
}

TEST(KeyringTest, EveryBadLineIsNamed) {
  const TestFolder folder;
  const std::string path = folder / "keys";
  WriteText(path, fmt::format("anna\n{}\n\ncgp1.12 bert\n", Key(1).ToText()), 0600);
  EXPECT_EQ(std::string(Keyring::Load(path).status().message()),
            fmt::format("{}:1: expected a public key (\"cgp1.\" and 64 hexadecimal digits), got "
                        "\"anna\"\n{}:4: expected a public key (\"cgp1.\" and 64 hexadecimal "
                        "digits), got \"cgp1.12\"",
                        path, path));
  EXPECT_FALSE(Keyring::Add(path, Key(2), "").ok()) << "a ring with bad lines was rewritten";
}

TEST(KeyringTest, AddKeepsWhatIsThereAndAddsOnce) {
  const TestFolder folder;
  const std::string path = folder / "keys";
  WriteText(path, "# ours", 0600);
  ASSERT_TRUE(Keyring::Add(path, Key(1), "Anna").ok());
  ASSERT_TRUE(Keyring::Add(path, Key(2), "").ok());
  const std::string text = ReadText(path);
  EXPECT_EQ(text, fmt::format("# ours\n{} Anna\n{}\n", Key(1).ToText(), Key(2).ToText()));
  ASSERT_TRUE(Keyring::Add(path, Key(1), "someone else").ok());
  EXPECT_EQ(ReadText(path), text);
  EXPECT_EQ(folder.CountFiles(), 1u);
}

TEST(KeyringTest, ANameCannotSmuggleInALine) {
  const TestFolder folder;
  const std::string name = fmt::format("x\n{}", Key(9).ToText());
  EXPECT_TRUE(absl::IsInvalidArgument(Keyring::Add(folder / "keys", Key(1), name)));
  EXPECT_FALSE(Keyring::Load(folder / "keys")->Trusts(Key(9)));
}

TEST(KeyringTest, OthersMayNotChangeIt) {
  const TestFolder folder;
  const std::string path = folder / "keys";
  for (const int mode : {0664, 0646}) {
    WriteText(path, Key(1).ToText(), mode);
    const absl::Status status = Keyring::Load(path).status();
    EXPECT_TRUE(absl::IsPermissionDenied(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("chmod go-w " + path));
  }
}

TEST(KeyringTest, ProcessesThatAddAtOnceLoseNoKey) {
  constexpr uint8_t kProcesses = 8;
  const TestFolder folder;
  const std::string path = folder / "keys";
  std::vector<pid_t> children;
  for (uint8_t i = 0; i < kProcesses; ++i) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) _exit(Keyring::Add(path, Key(i), fmt::format("n{}", i)).ok() ? 0 : 1);
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 1;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  const auto ring = Keyring::Load(path);
  ASSERT_TRUE(ring.ok()) << ring.status();
  for (uint8_t i = 0; i < kProcesses; ++i) EXPECT_TRUE(ring->Trusts(Key(i))) << int{i};
}

}  // namespace
}  // namespace corpgrid::crypto
