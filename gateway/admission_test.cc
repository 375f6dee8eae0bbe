#include "gateway/admission.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/testing/manual_clock.h"
#include "base/testing/temp_folder.h"
#include "fmt/format.h"
#include "gateway/api_error.h"

namespace corpgrid::gateway {
namespace {

using ::testing::HasSubstr;

class AdmissionTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<Admission::Ticket>> Enter(ApiKey key) {
    key.name = "holder";
    key.hash = HashOfApiKey(secret_);
    keys_ = std::make_unique<OneKey>(std::move(key));
    admission_ = std::make_unique<Admission>(keys_.get(), &clock_);
    return Again();
  }
  absl::StatusOr<std::unique_ptr<Admission::Ticket>> Again() {
    return admission_->Enter("Bearer " + secret_);
  }

  const std::string secret_ = NewApiKey();
  testing::ManualClock clock_;
  std::unique_ptr<OneKey> keys_;
  std::unique_ptr<Admission> admission_;
};

TEST_F(AdmissionTest, LetsNobodyInWithoutAKnownKey) {
  ASSERT_TRUE(Enter({}).ok());
  for (const std::string& header :
       {std::string(), std::string("Bearer "), secret_, "Basic " + secret_,
        "Bearer " + secret_ + " ", "Bearer " + NewApiKey()}) {
    const auto ticket = admission_->Enter(header);
    EXPECT_EQ(HttpStatusOf(ticket.status()), 401u) << header;
  }
}

TEST_F(AdmissionTest, TheSchemeHasNoCase) {
  ASSERT_TRUE(Enter({}).ok());
  for (const std::string scheme : {"bearer ", "BEARER ", "bEaReR "}) {
    EXPECT_TRUE(admission_->Enter(scheme + secret_).ok()) << scheme;
    EXPECT_FALSE(admission_->Enter(scheme + NewApiKey()).ok()) << scheme;
  }
}

TEST_F(AdmissionTest, KeysHaveModelsAndAnEnd) {
  ApiKey key;
  key.models = {"a", "b"};
  key.expires_s = 2000;
  const auto ticket = Enter(key);
  ASSERT_TRUE(ticket.ok());
  EXPECT_TRUE((*ticket)->CheckModel("b").ok());
  EXPECT_EQ(HttpStatusOf((*ticket)->CheckModel("c")), 403u);
  clock_.now_ms = 1'999'999;
  EXPECT_TRUE(Again().ok());
  clock_.now_ms = 2'000'000;
  EXPECT_THAT(std::string(Again().status().message()), HasSubstr("expired"));
}

TEST_F(AdmissionTest, CountsWhatRuns) {
  ApiKey key;
  key.max_concurrent = 2;
  auto first = Enter(key);
  const auto second = Again();
  ASSERT_TRUE(first.ok() && second.ok());
  const auto third = Again();
  EXPECT_EQ(HttpStatusOf(third.status()), 429u);
  EXPECT_EQ(RetryAfter(third.status()), 1);
  first->reset();
  EXPECT_TRUE(Again().ok());
}

TEST_F(AdmissionTest, MeasuresTokensByTheMinute) {
  ApiKey key;
  key.tokens_per_minute = 60;
  auto ticket = Enter(key);
  ASSERT_TRUE(ticket.ok());
  (*ticket)->Charge(59);
  EXPECT_TRUE(Again().ok());
  (*ticket)->Charge(31);  // 30 are owed
  EXPECT_EQ(RetryAfter(Again().status()), 31);
  clock_.now_ms += 30'000;
  EXPECT_EQ(RetryAfter(Again().status()), 1);
  clock_.now_ms += 1000;
  EXPECT_TRUE(Again().ok());
  clock_.now_ms += 3'600'000;  // no more than a minute's is saved
  (*ticket)->Charge(60);
  EXPECT_EQ(RetryAfter(Again().status()), 1);
}

TEST_F(AdmissionTest, AKeyWithoutALimitOwesNothing) {
  struct OfTheTest final : KeyDirectory {
    absl::StatusOr<ApiKey> Find(std::string_view) const override { return key; }
    ApiKey key;
  } keys;
  Admission admission(&keys, &clock_);
  const auto unlimited = admission.Enter("Bearer x");
  ASSERT_TRUE(unlimited.ok());
  (*unlimited)->Charge(1'000'000);
  keys.key.tokens_per_minute = 60;
  const auto limited = admission.Enter("Bearer x");
  ASSERT_TRUE(limited.ok()) << limited.status();
  (*unlimited)->Charge(1'000'000);
  EXPECT_TRUE(admission.Enter("Bearer x").ok());
  (*limited)->Charge(1'000);
  EXPECT_EQ(HttpStatusOf(admission.Enter("Bearer x").status()), 429u);
  keys.key.tokens_per_minute = 0;
  EXPECT_TRUE(admission.Enter("Bearer x").ok());
}

class KeyFileTest : public ::testing::Test {
 protected:
  static ApiKey Make(const std::string& name, const std::string& secret) {
    ApiKey key;
    key.name = name;
    key.hash = HashOfApiKey(secret);
    key.models = {"m"};
    key.expires_s = 5;
    key.max_concurrent = 6;
    key.tokens_per_minute = 7;
    return key;
  }
  testing::TempFolder folder_;
  const std::string path_ = folder_ / "keys.json";
};

TEST_F(KeyFileTest, ReadsWhatWasWrittenAndWhatChanged) {
  ASSERT_TRUE(KeyFile::Write(path_, {Make("a", "one")}).ok());
  const auto file = KeyFile::Open(path_);
  ASSERT_TRUE(file.ok()) << file.status();
  const auto key = (*file)->Find("one");
  ASSERT_TRUE(key.ok()) << key.status();
  EXPECT_EQ(key->name, "a");
  EXPECT_TRUE(key->Allows("m"));
  EXPECT_FALSE(key->Allows("n"));
  EXPECT_EQ(key->expires_s, 5);
  EXPECT_EQ(key->max_concurrent, 6u);
  EXPECT_EQ(key->tokens_per_minute, 7u);
  EXPECT_EQ(HttpStatusOf((*file)->Find("two").status()), 401u);
  ASSERT_TRUE(KeyFile::Write(path_, {Make("b", "two")}).ok());
  EXPECT_TRUE((*file)->Find("two").ok());
  EXPECT_EQ(HttpStatusOf((*file)->Find("one").status()), 401u);
  std::remove(path_.c_str());
  EXPECT_EQ(HttpStatusOf((*file)->Find("two").status()), 503u);
}

TEST_F(KeyFileTest, WritesNothingThatCannotBeRead) {
  const ApiKey good = Make("a", "one");
  ASSERT_TRUE(KeyFile::Write(path_, {good}).ok());
  const auto error = [&](const ApiKey& key) {
    const absl::Status status = KeyFile::Write(path_, {good, key});
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    const auto left = KeyFile::Read(path_);
    EXPECT_TRUE(left.ok() && left->size() == 1) << left.status();
    return std::string(status.message());
  };
  ApiKey key = Make("b", "two");
  key.max_concurrent = 1'000'001;
  EXPECT_THAT(error(key), HasSubstr("keys[1].max_concurrent is 1000001; it may be from 0 to "
                                    "1000000"));
  key = Make("b", "two");
  key.tokens_per_minute = (uint64_t{1} << 53) + 1;
  EXPECT_THAT(error(key), HasSubstr("tokens_per_minute is 9007199254740993; it may be from 0 to "
                                    "9007199254740992"));
  key = Make("b", "two");
  key.expires_s = -1;
  EXPECT_THAT(error(key), HasSubstr("keys[1].expires is -1"));
  EXPECT_THAT(error(Make("b\xff", "two")), HasSubstr("keys[1].name is no UTF-8"));
  key = Make("b", "two");
  key.models = {"m", "\xc3"};
  EXPECT_THAT(error(key), HasSubstr("keys[1].models has what is no UTF-8"));
  EXPECT_THAT(error(good), HasSubstr("two of the name \"a\""));
  key = Make("b", "two");
  key.max_concurrent = 1'000'000;
  key.tokens_per_minute = uint64_t{1} << 53;
  EXPECT_TRUE(KeyFile::Write(path_, {good, key}).ok());
  EXPECT_TRUE(KeyFile::Open(path_).ok());
}

TEST_F(KeyFileTest, SaysWhatIsWrong) {
  const auto error = [&](const std::string& text) {
    std::ofstream(path_) << text;
    return std::string(KeyFile::Open(path_).status().message());
  };
  EXPECT_THAT(error("{}"), HasSubstr("keys is missing"));
  EXPECT_THAT(error(R"({"keys": [{"name": "a"}]})"), HasSubstr("keys[0].hash is missing"));
  EXPECT_THAT(error(R"({"keys": [{"name": "a", "hash": "00"}]})"), HasSubstr("keys[0].hash"));
  EXPECT_THAT(error(R"({"keys": [5]})"), HasSubstr("keys[0] has to be an object"));
  const std::string key = fmt::format(R"({{"name": "a", "hash": "{}"}})", HashOfApiKey("x").Hex());
  EXPECT_THAT(error("{\"keys\": [" + key + "," + key + "]}"), HasSubstr("two of the name \"a\""));
  EXPECT_EQ(error("{\"keys\": [" + key + "]}"), "");
  ::chmod(path_.c_str(), 0666);
  EXPECT_THAT(std::string(KeyFile::Open(path_).status().message()), HasSubstr("chmod go-w"));
}

}  // namespace
}  // namespace corpgrid::gateway
