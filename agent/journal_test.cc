#include "agent/journal.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "agent/testing.h"

namespace corpgrid::agent {
namespace {

namespace fs = std::filesystem;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class JournalTest : public ::testing::Test {
 protected:
  // A finished attempt with a small output and, in its file, a large one.
  FinishedAttempt Finished(uint64_t id) const {
    FinishedAttempt finished{.attempt = job_.MakeAttempt(id, 3),
                             .result = {job::Outcome::kExited, 0, {}},
                             .detail = "why",
                             .stdout_tail = std::string("out\0put", 7),
                             .stderr_tail = "err",
                             .wall_us = Journal::kWorthKeepingUs,
                             .cpu_us = 6,
                             .max_rss_bytes = 7};
    CollectedOutput small{{"small", crypto::Blake3("bytes"), 5}, "bytes"};
    CollectedOutput large{{"large", crypto::Blake3(large_), large_.size()}};
    large.is_large = true;
    std::ofstream(journal_->OutputPath(AttemptId{id}) + "0") << large_;
    for (CollectedOutput* output : {&small, &large}) {
      finished.result.outputs.push_back(output->output);
      finished.outputs.push_back(std::move(*output));
    }
    return finished;
  }
  void Keep(uint64_t id) const { ASSERT_TRUE(journal_->Keep("grid", Finished(id)).ok()); }
  std::string In(const std::string& name) const { return folder_.path() + "/" + name; }
  size_t Files() const {
    return static_cast<size_t>(
        std::distance(fs::directory_iterator(folder_.path()), fs::directory_iterator()));
  }

  const std::string large_ = std::string(100'000, 'x');
  corpgrid::testing::TempFolder folder_;
  const crypto::KeyPair submitter_ = crypto::KeyPair::Generate();
  const TestJob job_{9, Fields({"/bin/x"}), submitter_};
  std::unique_ptr<Journal> journal_ = Journal::Open(folder_.path()).value();
};

TEST_F(JournalTest, WhatIsFinishedComesBackWhole) {
  Keep(5);
  const std::vector<FinishedAttempt> left = journal_->TakeLeft("grid");
  ASSERT_THAT(left, SizeIs(1));
  const FinishedAttempt expected = Finished(5);
  const FinishedAttempt& found = left[0];
  EXPECT_EQ(found.attempt.id.value, 5u);
  EXPECT_EQ(found.attempt.shard, expected.attempt.shard);
  EXPECT_EQ(found.attempt.lease_token, expected.attempt.lease_token);
  EXPECT_EQ(found.attempt.job->SerializeAsString(), job_.ticket.SerializeAsString());
  EXPECT_EQ(found.result, expected.result);
  EXPECT_EQ(found.detail, "why");
  EXPECT_EQ(found.stdout_tail, expected.stdout_tail);
  EXPECT_EQ(found.stderr_tail, "err");
  EXPECT_EQ(found.wall_us, Journal::kWorthKeepingUs);
  EXPECT_EQ(found.cpu_us, 6);
  EXPECT_EQ(found.max_rss_bytes, 7u);
  EXPECT_EQ(found.outputs.at(0).data, "bytes");
  EXPECT_EQ(ReadAt(found.outputs.at(1).file.get(), 0, 1 << 20).value(), large_);
}

TEST_F(JournalTest, WhatTookNoTimeIsNotKept) {
  FinishedAttempt quick{.attempt = job_.MakeAttempt(5), .wall_us = Journal::kWorthKeepingUs - 1};
  ASSERT_TRUE(journal_->Keep("grid", quick).ok());
  EXPECT_EQ(Files(), 0u);
}

TEST_F(JournalTest, NothingIsLeftOfWhatWasJudged) {
  Keep(5);
  Keep(6);
  journal_->Forget(AttemptId{5});
  journal_->Forget(AttemptId{7});
  EXPECT_EQ(Files(), 2u);
  EXPECT_EQ(journal_->TakeLeft("grid").at(0).attempt.id.value, 6u);
  journal_->Forget(AttemptId{6});
  EXPECT_EQ(Files(), 0u);
}

TEST_F(JournalTest, AnotherGridsAttemptsAreNobodys) {
  Keep(5);
  EXPECT_THAT(journal_->TakeLeft("a grid made anew"), IsEmpty());
  EXPECT_EQ(Files(), 0u);
}

TEST_F(JournalTest, WhateverAKillLeftIsNoRecord) {
  Keep(5);
  std::string record(fs::file_size(In("5")), '\0');
  std::ifstream(In("5")).read(record.data(), static_cast<std::streamsize>(record.size()));
  for (size_t size = 0; size < record.size(); size += 7) {
    Finished(5);
    std::ofstream(In("5"), std::ios::binary) << record.substr(0, size);
    EXPECT_THAT(journal_->TakeLeft("grid"), IsEmpty()) << size;
    EXPECT_EQ(Files(), 0u) << size;
  }
  Finished(5);
  std::ofstream(In("8"), std::ios::binary) << record;
  EXPECT_THAT(journal_->TakeLeft("grid"), IsEmpty()) << "under another's name";
  Keep(5);
  std::ofstream(In("5-0")) << "damaged";
  EXPECT_THAT(journal_->TakeLeft("grid"), IsEmpty());
  Keep(5);
  fs::remove(In("5-0"));
  EXPECT_THAT(journal_->TakeLeft("grid"), IsEmpty());
  std::ofstream(In("6-0")) << "without a record";
  std::ofstream(In("x")) << "";
  EXPECT_THAT(journal_->TakeLeft("grid"), IsEmpty());
  EXPECT_EQ(Files(), 0u);
}

}  // namespace
}  // namespace corpgrid::agent
