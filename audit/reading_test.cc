#include "audit/reading.h"

#include <string>
#include <utility>
#include <vector>

#include "audit/test_tree.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::audit {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kSize = 20;
constexpr uint64_t kKeptSize = 13;
constexpr uint64_t kNotedSize = 17;

struct Row {
  uint64_t index;
  std::string entry;
  std::string nodes;
};

// As the store has it.
std::vector<Row> Rows(const std::vector<std::string>& entries) {
  std::vector<Row> rows;
  Frontier tree;
  for (const std::string& entry : entries) {
    std::string nodes;
    const uint64_t index = tree.size();
    for (const TreeHash& hash : tree.Append(LeafHash(entry))) nodes += hash.Raw();
    rows.push_back({index, entry, nodes});
  }
  return rows;
}

class ReadingTest : public ::testing::Test {
 protected:
  ReadingTest() {
    for (uint64_t i = 0; i < kSize; ++i) entries_.push_back(fmt::format("entry {}", i));
    rows_ = Rows(entries_);
  }
  absl::Status Read(bool kept = true) const {
    const TestTree tree = TestTree::OfSize(kSize);
    const auto at = [&](uint64_t size) {
      return Checkpoint{.origin = "o", .size = size, .root = tree.roots[size]};
    };
    std::vector<Earlier> earlier = {{at(kNotedSize), "of the auditor"}};
    if (kept) earlier.push_back({at(kKeptSize), "that was kept"});
    Reading reading(at(kSize), std::move(earlier));
    for (const Row& row : rows_) {
      const absl::Status status = reading.Take(row.index, row.entry, row.nodes);
      if (!status.ok()) return status;
    }
    return reading.Finish();
  }
  void ExpectFound(const char* message, bool kept = true) const {
    const absl::Status status = Read(kept);
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  }

  std::vector<std::string> entries_;
  std::vector<Row> rows_;
};

TEST_F(ReadingTest, TakesTheLogAsItIs) {
  EXPECT_TRUE(Read().ok()) << Read();
  EXPECT_TRUE(Read(/*kept=*/false).ok());
}

TEST_F(ReadingTest, FindsAChangedEntry) {
  rows_[5].entry += "!";
  ExpectFound("entry 5 was changed");
}

TEST_F(ReadingTest, FindsAnEntryThatWasChangedWithItsLeaf) {
  rows_[5].entry += "!";
  rows_[5].nodes.replace(0, 32, LeafHash(rows_[5].entry).Raw());
  ExpectFound("one of the entries 4 to 5");
}

TEST_F(ReadingTest, FindsAnEntryThatWasChangedWithTheWholeTree) {
  entries_[5] += "!";
  rows_ = Rows(entries_);
  ExpectFound("first 13 entries are not those of the checkpoint that was kept");
  ExpectFound("first 17 entries are not those of the checkpoint of the auditor", false);
}

TEST_F(ReadingTest, FindsAChangeBehindEveryCheckpointThatIsKnown) {
  entries_[18] += "!";
  rows_ = Rows(entries_);
  ExpectFound("20 entries are not those that the log's checkpoint was signed for");
}

TEST_F(ReadingTest, FindsWhatIsMissing) {
  rows_.erase(rows_.begin() + 7);
  ExpectFound("entry 7 is missing");
}

TEST_F(ReadingTest, FindsACutTail) {
  rows_.resize(18);
  ExpectFound("entry 18 is missing: the log's checkpoint has 20 entries");
}

TEST_F(ReadingTest, FindsChangedPlaces) {
  std::swap(rows_[4].entry, rows_[6].entry);
  ExpectFound("entry 4 was changed");
  std::swap(rows_[4].nodes, rows_[6].nodes);
  ExpectFound("one of the entries 4 to 5");
  std::swap(rows_[4], rows_[5]);
  std::swap(rows_[4].index, rows_[5].index);
  ExpectFound("entry 4 stands where another one was");
}

TEST_F(ReadingTest, FindsARepeatedEntry) {
  rows_.insert(rows_.begin() + 3, rows_[2]);
  ExpectFound("entry 2 comes a second time");
}

}  // namespace
}  // namespace corpgrid::audit
