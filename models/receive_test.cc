#include "models/receive.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/testing/manual_clock.h"
#include "base/testing/temp_folder.h"
#include "fmt/format.h"
#include "models/sha256.h"
#include "models/test_models.h"

namespace corpgrid::models {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

std::string Sha256Of(const std::string& content) {
  Sha256 hash;
  hash.Add(content);
  return hash.Digits();
}

// What a worker program says of a model that it can host.
constexpr char kUsable[] =
    R"(echo '{"result": {"facts": {}, "verdict": {"loads": true, "generates": true}}}')";

class ReceiverTest : public ::testing::Test {
 protected:
  ReceiverTest() { Inspector(kUsable); }

  void Inspector(const std::string& script) { ScriptProgram(worker_, script); }

  Receiver Open(std::optional<uint64_t> most_bytes = 100'000) {
    return {folder_ / "received", most_bytes, worker_, &clock_};
  }

  static Receiver::Part PartOf(const std::string& model, const std::vector<std::string>& contents) {
    Receiver::Part part{.model = model, .files = {}};
    for (const std::string& content : contents) {
      part.files.push_back({.name = std::to_string(part.files.size()) + ".gguf",
                            .bytes = content.size(),
                            .sha256 = Sha256Of(content)});
    }
    return part;
  }

  // Sends what is wanted, up to `step` bytes at a time, at most `parts` times.
  absl::StatusOr<Receiver::Wanted> Send(Receiver& receiver, const std::string& model,
                                        const std::vector<std::string>& contents, size_t step = 3,
                                        int parts = 1000) {
    Receiver::Part part = PartOf(model, contents);
    absl::StatusOr<Receiver::Wanted> wanted = receiver.Take(part, never_);
    for (; wanted.ok() && !wanted->whole && parts > 0; --parts) {
      part.file = wanted->file;
      part.offset = wanted->offset;
      part.bytes = std::string_view(contents[part.file]).substr(part.offset, step);
      wanted = receiver.Take(part, never_);
    }
    return wanted;
  }

  std::string Content(const std::string& file) const {
    std::ifstream in(folder_ / ("received/" + file), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  const std::atomic<bool> never_ = false;
  testing::TempFolder folder_;
  testing::ManualClock clock_;
  const std::string worker_ = folder_ / "worker";
};

TEST_F(ReceiverTest, AModelComesInPartsAndIsThereWhenItIsWhole) {
  Receiver receiver = Open();
  const auto sent = Send(receiver, "one", {"GGUF first", "GGUF second"});
  ASSERT_TRUE(sent.ok()) << sent.status();
  EXPECT_TRUE(sent->whole);
  EXPECT_EQ(Content("one/0.gguf"), "GGUF first");
  EXPECT_EQ(Content("one/1.gguf"), "GGUF second");
  EXPECT_TRUE((*ModelStore::Open(folder_ / "received"))->Find("one").ok());
  EXPECT_TRUE(Send(receiver, "one", {"GGUF first", "GGUF second"}, 3, 0)->whole) << "at once";
  EXPECT_TRUE(absl::IsAlreadyExists(Send(receiver, "one", {"other"}).status()));
  EXPECT_TRUE(receiver.Remove("one").ok());
  EXPECT_TRUE(absl::IsNotFound(receiver.Remove("one")));
  EXPECT_TRUE(Send(receiver, "one", {"other"})->whole);
}

TEST_F(ReceiverTest, WhatIsNotWantedChangesNothing) {
  Receiver receiver = Open();
  ASSERT_EQ(Send(receiver, "one", {"0123456789", "abc"}, 4, 1)->offset, 4u);
  Receiver::Part part = PartOf("one", {"0123456789", "abc"});
  for (const auto& [file, offset, bytes] :
       {std::tuple(0, 0, "0123"), std::tuple(0, 5, "56789"), std::tuple(1, 0, "abc")}) {
    part.file = static_cast<size_t>(file);
    part.offset = static_cast<uint64_t>(offset);
    part.bytes = bytes;
    const auto wanted = receiver.Take(part, never_);
    EXPECT_EQ(wanted->file, 0u);
    EXPECT_EQ(wanted->offset, 4u);
  }
  EXPECT_TRUE(Send(receiver, "one", {"0123456789", "abc"})->whole);
  EXPECT_EQ(Content("one/0.gguf"), "0123456789");
}

TEST_F(ReceiverTest, ALaterOneGoesOn) {
  {
    Receiver receiver = Open();
    ASSERT_TRUE(Send(receiver, "one", {"0123456789", "abcdef"}, 4, 4).ok());
  }
  Receiver receiver = Open();
  const auto wanted = receiver.Take(PartOf("one", {"0123456789", "abcdef"}), never_);
  EXPECT_EQ(wanted->file, 1u);
  EXPECT_EQ(wanted->offset, 4u);
  EXPECT_TRUE(Send(receiver, "one", {"0123456789", "abcdef"})->whole);
  EXPECT_EQ(Content("one/1.gguf"), "abcdef");
}

TEST_F(ReceiverTest, WhatIsNotAsItShouldBeIsForgotten) {
  Receiver receiver = Open();
  Receiver::Part part = PartOf("one", {"0123456789"});
  part.bytes = "012345678X";
  EXPECT_TRUE(absl::IsDataLoss(receiver.Take(part, never_).status()));
  EXPECT_EQ(receiver.Take(PartOf("one", {"0123456789"}), never_)->offset, 0u);
  EXPECT_TRUE(Send(receiver, "one", {"0123456789"})->whole);
}

TEST_F(ReceiverTest, WhatCannotBeHostedIsRefusedAndLeavesNothing) {
  Receiver receiver = Open();
  Inspector(R"(echo '{"error": {"code": 3, "message": "no GGUF file"}}'; exit 1)");
  EXPECT_TRUE(absl::IsInvalidArgument(Send(receiver, "one", {"text"}).status()));
  EXPECT_TRUE(fs::is_empty(folder_ / "received/.staging"));
  Inspector(R"(echo '{"result": {"facts": {}, "verdict": {"problem": "unknown architecture"}}}')");
  const absl::Status refused = Send(receiver, "one", {"text"}).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("unknown architecture"));
  EXPECT_TRUE(fs::is_empty(folder_ / "received/.staging"));
}

TEST_F(ReceiverTest, RoomIsWhatItsOwnerLends) {
  Receiver receiver = Open(21'500);  // for two of 10,000 bytes, and what a store adds to them
  const std::string content(10'000, '0');
  ASSERT_TRUE(Send(receiver, "one", {content}, 10'000)->whole);
  const absl::Status full = Send(receiver, "two", {content + std::string(1'000, '1')}).status();
  EXPECT_TRUE(absl::IsResourceExhausted(full)) << full;
  EXPECT_THAT(std::string(full.message()),
              ::testing::ContainsRegex("two has 10.7 KiB, and .* may have 10.* KiB more on disk"));
  EXPECT_TRUE(fs::is_empty(folder_ / "received/.staging"));
  // What is there of a model counts once, and against others.
  ASSERT_EQ(Send(receiver, "two", {content}, 4'000, 1)->offset, 4'000u);
  clock_.now_ms += Receiver::kPatienceMs;
  const std::string third(7'000, '3');
  EXPECT_TRUE(absl::IsResourceExhausted(Send(receiver, "three", {third}).status()));
  EXPECT_TRUE(Send(receiver, "two", {content}, 4'000)->whole);
  // Without a limit a tenth of the disk stays free.
  Receiver::Part large = PartOf("large", {"x"});
  large.files[0].bytes = fs::space(folder_.path()).available;
  Receiver free = Open(std::nullopt);
  EXPECT_TRUE(absl::IsResourceExhausted(free.Take(large, never_).status()));
}

// Files of other names with the same SHA-256 counted as what is there already.
TEST_F(ReceiverTest, OtherFilesOfAModelTakeThePlaceOfTheFirst) {
  Receiver receiver = Open(20);
  ASSERT_EQ(Send(receiver, "one", {"0123456789"}, 9, 1)->offset, 9u);
  clock_.now_ms += Receiver::kPatienceMs;
  Receiver::Part renamed = PartOf("one", {"0123456789"});
  renamed.files[0].name = "other.gguf";
  EXPECT_EQ(receiver.Take(renamed, never_)->offset, 0u);
  uint64_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(folder_ / "received/.staging/one")) {
    if (entry.path().extension() == ".part") bytes += entry.file_size();
  }
  EXPECT_EQ(bytes, 0u);
}

// Somebody else's upload under the same name is not lost to one that does not fit.
TEST_F(ReceiverTest, WhatIsRefusedCostsOthersNothing) {
  Receiver receiver = Open(20);
  ASSERT_EQ(Send(receiver, "one", {"0123456789"}, 4, 1)->offset, 4u);
  clock_.now_ms += Receiver::kPatienceMs;
  EXPECT_TRUE(absl::IsResourceExhausted(Send(receiver, "one", {std::string(21, 'x')}).status()));
  EXPECT_EQ(receiver.Take(PartOf("one", {"0123456789"}), never_)->offset, 4u);
}

// It was committed, found damaged, and counted for nothing.
TEST_F(ReceiverTest, AModelThatSaysTooMuchOfItselfIsRefused) {
  Inspector(R"(printf '{"result": {"facts": {"chat_template": "'
               head -c 2000000 /dev/zero | tr '\0' x
               echo '"}, "verdict": {"loads": true, "generates": true}}}')");
  Receiver receiver = Open();
  EXPECT_TRUE(absl::IsInvalidArgument(Send(receiver, "one", {"text"}).status()));
  EXPECT_TRUE(fs::is_empty(folder_ / "received/.staging"));
}

TEST_F(ReceiverTest, WhatIsThereIsToldWhileAnotherComes) {
  Receiver receiver = Open();
  ASSERT_TRUE(Send(receiver, "one", {"0123456789"})->whole);
  ASSERT_EQ(Send(receiver, "two", {"abcdef"}, 4, 1)->offset, 4u);
  EXPECT_TRUE(receiver.Take(PartOf("one", {"0123456789"}), never_)->whole);
  EXPECT_TRUE(Send(receiver, "two", {"abcdef"})->whole);
}

TEST_F(ReceiverTest, NotManyAreBegunAndNotFinished) {
  Receiver receiver = Open();
  for (size_t i = 0; i < Receiver::kMaxUnfinished; ++i) {
    ASSERT_EQ(Send(receiver, fmt::format("m{}", i), {"0123456789"}, 4, 1)->offset, 4u);
    clock_.now_ms += Receiver::kPatienceMs;
  }
  const absl::Status many = Send(receiver, "more", {"0"}).status();
  EXPECT_TRUE(absl::IsResourceExhausted(many)) << many;
  EXPECT_TRUE(receiver.Remove("m3").ok());
  EXPECT_TRUE(Send(receiver, "more", {"0"})->whole);
  // What came to nothing is not one of them.
  Receiver::Part wrong = PartOf("wrong", {"0"});
  wrong.bytes = "1";
  EXPECT_TRUE(absl::IsDataLoss(receiver.Take(wrong, never_).status()));
  EXPECT_FALSE(fs::exists(folder_ / "received/.staging/wrong"));
}

TEST_F(ReceiverTest, AnotherModelWaitsUntilNothingOfTheFirstComes) {
  Receiver receiver = Open();
  ASSERT_EQ(Send(receiver, "one", {"0123456789"}, 4, 1)->offset, 4u);
  clock_.now_ms += Receiver::kPatienceMs - 1;
  const absl::Status busy = Send(receiver, "two", {"abc"}).status();
  EXPECT_TRUE(absl::IsResourceExhausted(busy)) << busy;
  EXPECT_THAT(std::string(busy.message()), HasSubstr("one"));
  clock_.now_ms += 1;
  EXPECT_TRUE(Send(receiver, "two", {"abc"})->whole);
  EXPECT_EQ(receiver.Take(PartOf("one", {"0123456789"}), never_)->offset, 4u);
}

TEST_F(ReceiverTest, WhatIsNoPartOfAModelIsRefused) {
  Receiver receiver = Open();
  const auto refused = [&](const std::function<void(Receiver::Part*)>& change) {
    Receiver::Part part = PartOf("one", {"0123456789"});
    change(&part);
    return absl::IsInvalidArgument(receiver.Take(part, never_).status());
  };
  EXPECT_TRUE(refused([](auto* part) { part->model = "../one"; }));
  EXPECT_TRUE(refused([](auto* part) { part->files.clear(); }));
  EXPECT_TRUE(refused([](auto* part) { part->files.resize(1000, part->files[0]); }));
  EXPECT_TRUE(refused([](auto* part) { part->file = 1; }));
  for (const char* name :
       {"", "..", "../x", "a/b", "manifest.json", "source", "x.part", "x.state", "x.new", "a\nb"}) {
    EXPECT_TRUE(refused([&](auto* part) { part->files[0].name = name; })) << name;
  }
  EXPECT_TRUE(refused([](auto* part) { part->files.push_back(part->files[0]); }));
  EXPECT_TRUE(refused([](auto* part) { part->files[0].sha256 = "00"; }));
  EXPECT_TRUE(refused([](auto* part) { part->files[0].bytes = 0; }));
  EXPECT_TRUE(refused([](auto* part) { part->files[0].bytes = UINT64_MAX; }));
  EXPECT_TRUE(refused([](auto* part) { part->offset = 11; }));
  EXPECT_TRUE(refused([](auto* part) { part->bytes = "0123456789X"; }));
  EXPECT_TRUE(refused([](auto* part) {
    part->offset = 9;
    part->bytes = "9X";
  }));
  EXPECT_FALSE(fs::exists(folder_ / "received"));
}

}  // namespace
}  // namespace corpgrid::models
