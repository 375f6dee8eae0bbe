#include "crypto/signature.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>
#include <vector>

#include "crypto/hex.h"
#include "crypto/test_folder.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::crypto {
namespace {

using ::testing::HasSubstr;

struct Vector {
  const char* seed;
  const char* public_key;
  const char* message;
  const char* signature;
};

// RFC 8032, section 7.1, tests 1 to 3.
constexpr Vector kVectors[] = {
    {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9"
     "b46bd25bf5f0595bbe24655141438e7a100b"},
    {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
     "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f1"
     "1d8c387b2eaeb4302aeeb00d291612bb0c00"},
    {"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
     "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984d"
     "c6594a7c15e9716ed28dc027beceea1ec40a"},
};

std::string FromHex(std::string_view hex) {
  std::vector<uint8_t> bytes(hex.size() / 2);
  EXPECT_TRUE(ParseHex(hex, bytes));
  return {bytes.begin(), bytes.end()};
}

std::string KeyFileText(const Vector& vector) {
  return fmt::format("cgs1.{}\ncgp1.{}\n", vector.seed, vector.public_key);
}

TEST(SignatureTest, AgreesWithRfc8032) {
  const TestFolder folder;
  for (const Vector& vector : kVectors) {
    WriteText(folder / "key", KeyFileText(vector), 0600);
    const auto pair = KeyPair::LoadOrCreate(folder / "key");
    ASSERT_TRUE(pair.ok()) << pair.status();
    EXPECT_EQ(pair->public_key().ToText(), fmt::format("cgp1.{}", vector.public_key));
    const std::string message = FromHex(vector.message);
    EXPECT_EQ(ToHex(pair->Sign(message)), vector.signature);
    EXPECT_TRUE(Verify(pair->public_key(), message, FromHex(vector.signature)).ok());
  }
}

TEST(SignatureTest, NothingElseVerifies) {
  const KeyPair pair = KeyPair::Generate();
  const std::string message = "run this";
  const std::string signature = pair.Sign(message);
  EXPECT_TRUE(Verify(pair.public_key(), message, signature).ok());
  EXPECT_TRUE(absl::IsPermissionDenied(Verify(pair.public_key(), "run that", signature)));
  EXPECT_TRUE(
      absl::IsPermissionDenied(Verify(KeyPair::Generate().public_key(), message, signature)));
  EXPECT_TRUE(absl::IsPermissionDenied(Verify(PublicKey(), message, signature)));
  for (const size_t size : {size_t{0}, size_t{63}}) {
    EXPECT_TRUE(absl::IsPermissionDenied(
        Verify(pair.public_key(), message, std::string_view(signature).substr(0, size))));
  }
  EXPECT_FALSE(Verify(pair.public_key(), message, signature + "x").ok());
  for (size_t i = 0; i < signature.size(); ++i) {
    std::string flipped = signature;
    flipped[i] = static_cast<char>(flipped[i] ^ 1);
    EXPECT_FALSE(Verify(pair.public_key(), message, flipped).ok()) << i;
  }
}

TEST(SignatureTest, AMovedKeySignsAsBefore) {
  KeyPair pair = KeyPair::Generate();
  const PublicKey key = pair.public_key();
  KeyPair moved = std::move(pair);
  KeyPair assigned = KeyPair::Generate();
  assigned = std::move(moved);
  EXPECT_EQ(assigned.public_key(), key);
  EXPECT_TRUE(Verify(key, "m", assigned.Sign("m")).ok());
}

TEST(SignatureTest, PublicKeysComeBackFromTextAndBytes) {
  const PublicKey key = KeyPair::Generate().public_key();
  EXPECT_EQ(*PublicKey::FromText(key.ToText()), key);
  EXPECT_EQ(*PublicKey::FromRaw(key.Raw()), key);
  EXPECT_FALSE(PublicKey::FromRaw("short").ok());
  EXPECT_EQ(PublicKey::FromText("cgp1.12").status().message(),
            "expected a public key (\"cgp1.\" and 64 hexadecimal digits), got \"cgp1.12\"");
}

TEST(SignatureTest, AnErrorNeverShowsASecretKey) {
  const std::string secret = fmt::format("cgs1.{}", kVectors[0].seed);
  EXPECT_EQ(PublicKey::FromText(secret).status().message(),
            "expected a public key (\"cgp1.\" and 64 hexadecimal digits), got \"cgs1.…\", a secret "
            "key");
}

TEST(KeyFileTest, IsMadeOnceAndPrivate) {
  const TestFolder folder;
  const std::string path = folder / "device.key";
  const auto made = KeyPair::LoadOrCreate(path);
  ASSERT_TRUE(made.ok()) << made.status();
  struct stat info{};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600u);
  EXPECT_EQ(folder.CountFiles(), 1u);

  const auto loaded = KeyPair::LoadOrCreate(path);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->public_key(), made->public_key());
  EXPECT_TRUE(Verify(made->public_key(), "m", loaded->Sign("m")).ok());
}

TEST(KeyFileTest, ProcessesThatStartAtOnceAgree) {
  constexpr int kRounds = 20;
  constexpr int kProcesses = 4;
  const TestFolder folder;
  for (int round = 0; round < kRounds; ++round) {
    const std::string path = folder / fmt::format("key-{}", round);
    std::vector<pid_t> children;
    int results[2];
    ASSERT_EQ(pipe(results), 0);
    for (int i = 0; i < kProcesses; ++i) {
      const pid_t child = fork();
      ASSERT_GE(child, 0);
      if (child == 0) {
        const auto pair = KeyPair::LoadOrCreate(path);
        const std::string text = pair.ok() ? pair->public_key().ToText() : std::string(69, '!');
        _exit(write(results[1], text.data(), text.size()) == 69 ? 0 : 1);
      }
      children.push_back(child);
    }
    close(results[1]);
    std::set<std::string> keys;
    for (int i = 0; i < kProcesses; ++i) {
      std::string text(69, '\0');
      ASSERT_EQ(read(results[0], text.data(), text.size()), 69);
      keys.insert(text);
    }
    close(results[0]);
    for (const pid_t child : children) waitpid(child, nullptr, 0);
    EXPECT_EQ(keys, std::set{KeyPair::LoadOrCreate(path)->public_key().ToText()});
  }
  EXPECT_EQ(folder.CountFiles(), size_t{kRounds}) << "temporary files are left";
}

TEST(KeyFileTest, OthersMayNotReadIt) {
  const TestFolder folder;
  const std::string path = folder / "key";
  for (const int mode : {0640, 0604, 0620, 0666}) {
    WriteText(path, KeyFileText(kVectors[0]), mode);
    const absl::Status status = KeyPair::LoadOrCreate(path).status();
    EXPECT_TRUE(absl::IsPermissionDenied(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("chmod 600 " + path));
  }
}

TEST(KeyFileTest, DamageIsFound) {
  const TestFolder folder;
  const std::string path = folder / "key";
  const std::string sound = KeyFileText(kVectors[0]);
  for (size_t i = 0; i < sound.size(); ++i) {
    std::string damaged = sound;
    damaged[i] = static_cast<char>(damaged[i] ^ 1);
    WriteText(path, damaged, 0600);
    const absl::Status status = KeyPair::LoadOrCreate(path).status();
    EXPECT_TRUE(absl::IsDataLoss(status)) << i << ": " << status;
    WriteText(path, sound.substr(0, i), 0600);
    EXPECT_TRUE(absl::IsDataLoss(KeyPair::LoadOrCreate(path).status())) << i;
  }
  EXPECT_EQ(ReadText(path), sound.substr(0, sound.size() - 1)) << "a damaged key was replaced";
}

TEST(KeyFileTest, OtherThingsInItsPlaceAreErrors) {
  const TestFolder folder;
  ASSERT_EQ(mkfifo((folder / "fifo").c_str(), 0600), 0);
  EXPECT_TRUE(absl::IsInvalidArgument(KeyPair::LoadOrCreate(folder / "fifo").status()));
  ASSERT_EQ(mkdir((folder / "folder").c_str(), 0700), 0);
  EXPECT_TRUE(absl::IsInvalidArgument(KeyPair::LoadOrCreate(folder / "folder").status()));
  WriteText(folder / "huge", std::string(1 << 20, 'x'), 0600);
  EXPECT_TRUE(absl::IsInvalidArgument(KeyPair::LoadOrCreate(folder / "huge").status()));
  EXPECT_TRUE(absl::IsNotFound(KeyPair::LoadOrCreate(folder / "missing/key").status()));
}

TEST(RandomTest, BytesDiffer) {
  EXPECT_EQ(RandomBytes(0), "");
  EXPECT_EQ(RandomBytes(33).size(), 33u);
  EXPECT_NE(RandomBytes(16), RandomBytes(16));
}

TEST(EqualSecretsTest, ComparesLengthAndBytes) {
  EXPECT_TRUE(EqualSecrets("", ""));
  EXPECT_TRUE(EqualSecrets("abc", "abc"));
  EXPECT_FALSE(EqualSecrets("abc", "abd"));
  EXPECT_FALSE(EqualSecrets("abc", "ab"));
}

}  // namespace
}  // namespace corpgrid::crypto
