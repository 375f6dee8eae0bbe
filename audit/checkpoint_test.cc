#include "audit/checkpoint.h"

#include "crypto/base64.h"
#include "crypto/hex.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::audit {
namespace {

using ::testing::HasSubstr;

constexpr char kOrigin[] = "corpgrid/0123";

Checkpoint TestCheckpoint() {
  return {.origin = kOrigin, .size = 17, .root = LeafHash("anything")};
}

crypto::PublicKey KeyFromVkey(std::string_view base64) {
  const std::string bytes = crypto::FromBase64(base64).value();
  return crypto::PublicKey::FromRaw(std::string_view(bytes).substr(1)).value();  // after the type
}

std::string Hex(const KeyId& id) { return crypto::ToHex({reinterpret_cast<const char*>(&id), 4}); }

// Public verifier keys, "NAME+KEYID+base64(0x01 || key)": of the documentation of Go's
// sumdb/note and of its checksum database.
TEST(CheckpointTest, KeyIdsAreTheOnesOfOtherImplementations) {
  EXPECT_EQ(
      Hex(KeyIdOf("PeterNeumann", KeyFromVkey("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"))),
      "c74f20a3");
  EXPECT_EQ(
      Hex(KeyIdOf("sum.golang.org", KeyFromVkey("Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"))),
      "033de0ae");
}

// The example of the specification; its key is not given there.
TEST(CheckpointTest, ReadsTheExampleOfTheSpecification) {
  const std::string text =
      "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
      "\xE2\x80\x94 example.com/behind-the-sofa "
      "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/"
      "Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n";
  const auto parsed = SignedCheckpoint::Parse(text);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->checkpoint.origin, "example.com/behind-the-sofa");
  EXPECT_EQ(parsed->checkpoint.size, 20852163u);
  ASSERT_EQ(parsed->signatures.size(), 1u);
  EXPECT_EQ(Hex(parsed->signatures[0].key_id), "033de0ae");
  EXPECT_EQ(parsed->signatures[0].bytes.size(), 64u);
  EXPECT_EQ(parsed->Text(), text);
}

TEST(CheckpointTest, ASignedOneIsReadAndVerified) {
  const crypto::KeyPair key = crypto::KeyPair::Generate();
  const std::string text = SignedCheckpoint::Sign(TestCheckpoint(), key).Text();
  const auto parsed = SignedCheckpoint::Parse(text);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->checkpoint, TestCheckpoint());
  EXPECT_TRUE(parsed->Verify(kOrigin, key.public_key()).ok());
  EXPECT_EQ(parsed->Text(), text);
}

TEST(CheckpointTest, AnotherKeyLogOrContentIsRefused) {
  const crypto::KeyPair key = crypto::KeyPair::Generate();
  const SignedCheckpoint good = SignedCheckpoint::Sign(TestCheckpoint(), key);
  const auto other = crypto::KeyPair::Generate().public_key();
  EXPECT_THAT(std::string(good.Verify(kOrigin, other).message()), HasSubstr("not signed with"));
  EXPECT_THAT(std::string(good.Verify("corpgrid/4567", key.public_key()).message()),
              HasSubstr("of the log corpgrid/0123, not of corpgrid/4567"));
  SignedCheckpoint changed = good;
  --changed.checkpoint.size;
  EXPECT_THAT(std::string(changed.Verify(kOrigin, key.public_key()).message()),
              HasSubstr("16 entries is not the log's"));
  changed = good;
  changed.signatures[0].bytes.pop_back();
  EXPECT_FALSE(changed.Verify(kOrigin, key.public_key()).ok());
}

TEST(CheckpointTest, SignaturesOfWitnessesAreLeftAlone) {
  const crypto::KeyPair key = crypto::KeyPair::Generate();
  SignedCheckpoint note = SignedCheckpoint::Sign(TestCheckpoint(), key);
  note.signatures.insert(note.signatures.begin(),
                         {.name = "witness.example/w1", .key_id = {1, 2, 3, 4}, .bytes = "long"});
  const auto parsed = SignedCheckpoint::Parse(note.Text());
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_TRUE(parsed->Verify(kOrigin, key.public_key()).ok());
}

TEST(CheckpointTest, EveryChangedBitIsFound) {
  const crypto::KeyPair key = crypto::KeyPair::Generate();
  const std::string text = SignedCheckpoint::Sign(TestCheckpoint(), key).Text();
  for (size_t i = 0; i < 8 * text.size(); ++i) {
    std::string damaged = text;
    damaged[i / 8] = static_cast<char>(damaged[i / 8] ^ (1 << i % 8));
    const auto parsed = SignedCheckpoint::Parse(damaged);
    EXPECT_FALSE(parsed.ok() && parsed->Verify(kOrigin, key.public_key()).ok()) << damaged;
  }
}

TEST(CheckpointTest, SaysWhatIsMalformed) {
  constexpr char kRoot[] = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
  const std::string signature = "\xE2\x80\x94 a AAAAAAAA\n";
  const auto body = [&](std::string_view origin, std::string_view size) {
    return fmt::format("{}\n{}\n{}\n\n", origin, size, kRoot);
  };
  const std::pair<std::string, const char*> cases[] = {
      {"", "ends inside a line"},
      {"a\n1\n", "ends inside a line"},
      {body("", "1") + signature, "is no origin"},
      {body("a b", "1") + signature, "is no origin"},
      {body("a+b", "1") + signature, "is no origin"},
      {body("a", "") + signature, "is no tree size"},
      {body("a", "01") + signature, "is no tree size"},
      {body("a", "-1") + signature, "is no tree size"},
      {body("a", "18446744073709551616") + signature, "is no tree size"},
      {"a\n1\nAAAA\n\n" + signature, "32 bytes, got 3"},
      {"a\n1\nnone\n\n" + signature, "32 bytes, got 3"},
      {"a\n1\n!\n\n" + signature, "is not base64"},
      {fmt::format("a\n1\n{}\nextension\n\n{}", kRoot, signature), "more than three lines"},
      {body("a", "1"), "nobody signed it"},
      {body("a", "1") + "- a AAAAAAAA\n", "is no line of a signature"},
      {body("a", "1") + "\xE2\x80\x94 a AAAA\n", "is no line of a signature"},
      {body("a", "1") + "\xE2\x80\x94 AAAAAAAA\n", "is no line of a signature"},
      {body("a", "1") + "\xE2\x80\x94 a AAAAAAAA", "ends inside a line"},
      {body("a", "1") + signature + "\n", "is no line of a signature"},
      {std::string(SignedCheckpoint::kMaxBytes + 1, 'a'), "more than 131072"},
  };
  for (const auto& [text, message] : cases) {
    const auto parsed = SignedCheckpoint::Parse(text);
    EXPECT_TRUE(absl::IsInvalidArgument(parsed.status())) << text;
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(message)) << text;
  }
  std::string many = body("a", "1");
  for (size_t i = 0; i <= SignedCheckpoint::kMaxSignatures; ++i) many += signature;
  EXPECT_THAT(std::string(SignedCheckpoint::Parse(many).status().message()), HasSubstr("too many"));
}

}  // namespace
}  // namespace corpgrid::audit
