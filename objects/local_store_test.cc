#include "objects/local_store.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "base/testing/temp_folder.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "objects/test_store.h"

namespace corpgrid::objects {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kMiB = 1 << 20;

TEST_F(LocalStoreTest, SmallObjectsComeBackUnderTheirHash) {
  const std::vector<SmallObject> objects = {{"attempt-1", "out", "hello"},
                                            {"attempt-1", "empty", ""}};
  const auto refs = store_->StageSmall(objects);
  ASSERT_TRUE(refs.ok()) << refs.status();
  EXPECT_EQ((*refs)[0].hash, crypto::Blake3("hello"));
  EXPECT_EQ(ReadAll((*refs)[0].hash), "hello");
  EXPECT_EQ(ReadAll((*refs)[1].hash), "");
  EXPECT_TRUE(*store_->Has(crypto::Blake3("hello")));
  EXPECT_FALSE(*store_->Has(crypto::Blake3("other")));
  EXPECT_EQ(store_->Open(crypto::Blake3("other"), 0).status().code(), absl::StatusCode::kNotFound);
  const auto staged = store_->Staged("attempt-1");
  ASSERT_EQ(staged->size(), 2u);
  EXPECT_EQ((*staged)[0].name, "empty");
  EXPECT_EQ((*staged)[1].object, (ObjectRef{crypto::Blake3("hello"), 5}));
}

TEST_F(LocalStoreTest, LargeObjectsComeBackFromAnyOffset) {
  const std::string data = RandomText(3 * kMiB + 12345, 1);
  const ObjectRef ref = Upload("u", "bundle", data);
  EXPECT_EQ(ref.hash, crypto::Blake3(data));
  EXPECT_EQ(ref.size_bytes, data.size());
  for (const uint64_t offset :
       {uint64_t{0}, uint64_t{1}, kMiB - 1, kMiB, 3 * kMiB + 12344, 3 * kMiB + 12345}) {
    EXPECT_EQ(ReadAll(ref.hash, offset), data.substr(offset)) << offset;
  }
  EXPECT_EQ(store_->Open(ref.hash, data.size() + 1).status().code(), absl::StatusCode::kOutOfRange);
}

TEST_F(LocalStoreTest, SizesAroundTheBoundsRoundTrip) {
  for (const uint64_t size :
       {uint64_t{0}, uint64_t{1}, ObjectStore::kSmallBytes, ObjectStore::kSmallBytes + 1, kMiB - 1,
        kMiB, kMiB + 1, 8 * kMiB, 9 * kMiB}) {
    const std::string data = RandomText(size, size);
    const ObjectRef ref = Upload("u", fmt::format("{}", size), data);
    EXPECT_EQ(ref.hash, crypto::Blake3(data)) << size;
    EXPECT_TRUE(ReadAll(ref.hash) == data) << size;
  }
}

TEST_F(LocalStoreTest, EqualChunksAreStoredOnce) {
  const std::string chunk = RandomText(kMiB, 2);
  Upload("u", "a", chunk + chunk + chunk + RandomText(10, 3));
  Upload("u", "b", RandomText(kMiB, 4) + chunk);
  EXPECT_EQ(ChunkFileCount(), 3u);
}

TEST_F(LocalStoreTest, AnUploadGoesOnWhereItStopped) {
  const std::string data = RandomText(10 * kMiB + 77, 5);
  uint64_t sent = 0;
  for (const uint64_t until : {uint64_t{100}, 2 * kMiB + 5, 9 * kMiB, data.size()}) {
    auto writer = store_->OpenStaged("u", "x", data.size());
    ASSERT_TRUE(writer.ok()) << writer.status();
    ASSERT_EQ((*writer)->offset(), sent);
    ASSERT_TRUE((*writer)->Append(std::string_view(data).substr(sent, until - sent)).ok());
    sent = until;
    writer->reset();
    Reopen();
  }
  EXPECT_THAT(*store_->Staged("u"), IsEmpty());
  EXPECT_THAT(*store_->Scopes(), ElementsAre("u"));
  auto writer = store_->OpenStaged("u", "x", data.size());
  EXPECT_EQ((*writer)->offset(), data.size());
  EXPECT_EQ((*writer)->Finish()->hash, crypto::Blake3(data));
  EXPECT_TRUE(ReadAll(crypto::Blake3(data)) == data);
}

TEST_F(LocalStoreTest, AResumedUploadForgetsWhatRottedMeanwhile) {
  const std::string data = RandomText(3 * kMiB + 10, 6);
  ASSERT_TRUE((*store_->OpenStaged("u", "x", 4 * kMiB))->Append(data).ok());
  FlipBit(ChunkPath(crypto::Blake3(data.substr(kMiB, kMiB))), 1000);
  auto writer = store_->OpenStaged("u", "x", 4 * kMiB);
  ASSERT_EQ((*writer)->offset(), kMiB);
  ASSERT_TRUE((*writer)->Append(data.substr(kMiB)).ok());
  EXPECT_EQ((*writer)->Finish()->hash, crypto::Blake3(data));
  EXPECT_TRUE(ReadAll(crypto::Blake3(data)) == data);
}

TEST_F(LocalStoreTest, AnUploadHasOneWriterAndOneEnd) {
  auto writer = store_->OpenStaged("u", "x", 10);
  EXPECT_EQ(store_->OpenStaged("u", "x", 10).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(store_->OpenStaged("u", "y", 10).ok());
  ASSERT_TRUE((*writer)->Append("0123456789").ok());
  ASSERT_TRUE((*writer)->Finish().ok());
  EXPECT_EQ((*writer)->Append("1").code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ((*writer)->Finish().status().code(), absl::StatusCode::kFailedPrecondition);
  writer->reset();
  EXPECT_EQ(store_->OpenStaged("u", "x", 10).status().code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(LocalStoreTest, AnUploadIsBounded) {
  auto writer = store_->OpenStaged("u", "x", 10);
  ASSERT_TRUE((*writer)->Append("0123456789").ok());
  const absl::Status status = (*writer)->Append("1");
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(status.message(), HasSubstr("larger than the 10 B"));
  EXPECT_FALSE((*writer)->Finish().ok());
}

TEST_F(LocalStoreTest, AResumedUploadIsBoundedToo) {
  ASSERT_TRUE((*store_->OpenStaged("u", "x", 100))->Append(std::string(50, 'x')).ok());
  EXPECT_EQ(store_->OpenStaged("u", "x", 49).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ((*store_->OpenStaged("u", "x", 50))->offset(), 50u);
}

TEST_F(LocalStoreTest, AWriterWhoseScopeEndedFails) {
  auto writer = store_->OpenStaged("u", "x", 10 * kMiB);
  ASSERT_TRUE((*writer)->Append(RandomText(2 * kMiB, 1)).ok());
  ASSERT_TRUE(Drop("u").ok());
  EXPECT_EQ((*writer)->Finish().status().code(), absl::StatusCode::kAborted);
  writer->reset();
  EXPECT_THAT(*store_->Scopes(), IsEmpty());
  EXPECT_EQ(ChunkFileCount(), 0u);
}

TEST_F(LocalStoreTest, StagingAgainReplaces) {
  StageOne("s", "out", "first");
  StageOne("s", "out", "first");
  EXPECT_EQ(store_->Staged("s")->size(), 1u);
  StageOne("s", "out", "second");
  EXPECT_THAT(*store_->Has(crypto::Blake3("first")), false);
  EXPECT_EQ(store_->Staged("s")->at(0).object.hash, crypto::Blake3("second"));
  const std::string large = RandomText(2 * kMiB, 1);
  (*store_->OpenStaged("s", "large", 2 * kMiB))->Append(large).IgnoreError();
  StageOne("s", "large", "small now");
  EXPECT_EQ(ChunkFileCount(), 0u);
}

TEST_F(LocalStoreTest, TooLargeToBeStagedWhole) {
  const std::string data(ObjectStore::kSmallBytes + 1, 'x');
  const std::vector<SmallObject> objects = {{"s", "a", "fine"}, {"s", "b", data}};
  EXPECT_EQ(store_->StageSmall(objects).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(*store_->Scopes(), IsEmpty());
}

TEST_F(LocalStoreTest, ObjectsLiveAsLongAsSomethingNamesThem) {
  const std::string large = RandomText(2 * kMiB, 1);
  for (const char* scope : {"a1", "a2", "a3"}) {
    StageOne(scope, "out", "same");
    Upload(scope, "large", large);
  }
  StageOne("a1", "mine", "only a1's");
  ASSERT_TRUE(Keep("a1", "job-1").ok());
  ASSERT_TRUE(Keep("a1", "job-1").ok());
  ASSERT_TRUE(Keep("a2", "job-1").ok());
  const std::vector<std::string> rest = {"a3", "never was"};
  ASSERT_TRUE(store_->Drop(rest).ok());
  ASSERT_TRUE(store_->Drop(rest).ok());
  EXPECT_THAT(*store_->Scopes(), IsEmpty());
  Reopen();
  EXPECT_EQ(ReadAll(crypto::Blake3("same")), "same");
  EXPECT_EQ(ReadAll(crypto::Blake3("only a1's")), "only a1's");
  EXPECT_TRUE(ReadAll(crypto::Blake3(large)) == large);

  StageOne("a4", "out", "same");
  ASSERT_TRUE(store_->Release("job-1").ok());
  EXPECT_FALSE(*store_->Has(crypto::Blake3("only a1's")));
  EXPECT_TRUE(*store_->Has(crypto::Blake3("same")));
  EXPECT_FALSE(*store_->Has(crypto::Blake3(large)));
  EXPECT_EQ(ChunkFileCount(), 0u);
  ASSERT_TRUE(Drop("a4").ok());
  ExpectEmpty();
}

TEST_F(LocalStoreTest, KeepingLeavesUnfinishedUploadsBehind) {
  StageOne("s", "done", "x");
  (*store_->OpenStaged("s", "half", 3 * kMiB))->Append(RandomText(2 * kMiB, 1)).IgnoreError();
  ASSERT_TRUE(Keep("s", "job-1").ok());
  EXPECT_THAT(*store_->Scopes(), IsEmpty());
  EXPECT_EQ(ChunkFileCount(), 0u);
  EXPECT_TRUE(*store_->Has(crypto::Blake3("x")));
}

TEST_F(LocalStoreTest, ManyScopesEndTogether) {
  std::vector<std::pair<std::string, std::string>> keep;
  std::vector<std::string> drop;
  for (int i = 0; i < 40; ++i) {
    const std::string scope = fmt::format("a{}", i);
    StageOne(scope, "out", fmt::format("bytes of {}", i));
    if (i % 2 == 0) keep.emplace_back(scope, "job");
    if (i % 2 == 1) drop.push_back(scope);
  }
  ASSERT_TRUE(store_->Keep(keep).ok());
  ASSERT_TRUE(store_->Drop(drop).ok());
  EXPECT_THAT(*store_->Scopes(), IsEmpty());
  for (int i = 0; i < 40; ++i) {
    EXPECT_EQ(*store_->Has(crypto::Blake3(fmt::format("bytes of {}", i))), i % 2 == 0);
  }
}

TEST_F(LocalStoreTest, OneUploadOfAScopeIsDiscarded) {
  StageOne("s", "a", "bytes of a");
  StageOne("s", "b", "bytes of b");
  (*store_->OpenStaged("s", "half", 3 * kMiB))->Append(RandomText(2 * kMiB, 1)).IgnoreError();
  ASSERT_TRUE(store_->Discard("s", "a").ok());
  ASSERT_TRUE(store_->Discard("s", "a").ok());
  ASSERT_TRUE(store_->Discard("s", "half").ok());
  EXPECT_EQ(store_->Staged("s")->size(), 1u);
  EXPECT_FALSE(*store_->Has(crypto::Blake3("bytes of a")));
  EXPECT_TRUE(*store_->Has(crypto::Blake3("bytes of b")));
  EXPECT_EQ(ChunkFileCount(), 0u);
}

TEST_F(LocalStoreTest, WhatAnInterruptedUploadLeftIsCounted) {
  EXPECT_EQ(*store_->StagedBytes("s", "x"), 0u);
  (*store_->OpenStaged("s", "x", 3 * kMiB))->Append(RandomText(100, 1)).IgnoreError();
  EXPECT_EQ(*store_->StagedBytes("s", "x"), 100u);
  (*store_->OpenStaged("s", "x", 3 * kMiB))->Append(RandomText(2 * kMiB, 1)).IgnoreError();
  EXPECT_EQ(*store_->StagedBytes("s", "x"), 2 * kMiB + 100);
  ASSERT_TRUE((*store_->OpenStaged("s", "x", 3 * kMiB))->Finish().ok());
  EXPECT_EQ(*store_->StagedBytes("s", "x"), 0u);
}

TEST_F(LocalStoreTest, ReleasingManyTakesAllOfThem) {
  std::vector<std::string> names(2500);
  for (size_t i = 0; i < names.size(); ++i) names[i] = fmt::format("{}", i);
  std::vector<SmallObject> objects;
  objects.reserve(names.size());
  for (const std::string& name : names) objects.push_back({"s", name, name});
  ASSERT_TRUE(store_->StageSmall(objects).ok());
  ASSERT_TRUE(Keep("s", "job-1").ok());
  ASSERT_TRUE(store_->Release("job-1").ok());
  ExpectEmpty();
}

TEST_F(LocalStoreTest, NoWrongByteIsHandedOut) {
  const std::string data = RandomText(3 * kMiB + 5, 1);
  const ObjectRef ref = Upload("u", "x", data);
  const std::string path = ChunkPath(crypto::Blake3(data.substr(kMiB, kMiB)));
  // One byte too many, and whole again.
  std::ofstream(path, std::ios::app | std::ios::binary) << 'x';
  EXPECT_EQ((*store_->Open(ref.hash, kMiB))->Next().status().code(), absl::StatusCode::kDataLoss);
  std::filesystem::resize_file(path, kMiB);
  EXPECT_TRUE(ReadAll(ref.hash) == data);

  FlipBit(path, 77);
  auto reader = store_->Open(ref.hash, 0);
  EXPECT_TRUE(*(*reader)->Next() == data.substr(0, kMiB));
  const absl::Status loss = (*reader)->Next().status();
  EXPECT_EQ(loss.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(loss.message(), HasSubstr(path));
  for (const uintmax_t size : {uintmax_t{0}, uintmax_t{kMiB - 1}, uintmax_t{kMiB + 1}}) {
    std::filesystem::resize_file(path, size);
    EXPECT_EQ((*store_->Open(ref.hash, kMiB))->Next().status().code(), absl::StatusCode::kDataLoss);
  }
  std::filesystem::remove(path);
  EXPECT_EQ((*store_->Open(ref.hash, kMiB))->Next().status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(LocalStoreTest, StoringTheSameBytesRepairsThem) {
  const std::string data = RandomText(2 * kMiB, 1);
  const ObjectRef large = Upload("u", "x", data);
  FlipBit(ChunkPath(crypto::Blake3(data.substr(0, kMiB))), 0);
  EXPECT_EQ(Upload("u", "again", data), large);
  EXPECT_TRUE(ReadAll(large.hash) == data);

  StageOne("u", "small", "some bytes");
  store_.reset();
  Sql("UPDATE blobs SET data = CAST('Some bytes' AS BLOB) WHERE data = CAST('some bytes' AS BLOB)");
  Reopen();
  EXPECT_EQ((*store_->Open(crypto::Blake3("some bytes"), 0))->Next().status().code(),
            absl::StatusCode::kDataLoss);
  StageOne("v", "small", "some bytes");
  EXPECT_EQ(ReadAll(crypto::Blake3("some bytes")), "some bytes");
}

TEST_F(LocalStoreTest, AnIndexThatLostARowIsDataLoss) {
  const std::string data = RandomText(3 * kMiB, 1);
  const ObjectRef large = Upload("u", "x", data);
  StageOne("u", "small", "some bytes");
  store_.reset();
  Sql("DELETE FROM object_chunks WHERE seq = 1; DELETE FROM blobs");
  Reopen();
  EXPECT_EQ(store_->Open(large.hash, 0).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ((*store_->Open(crypto::Blake3("some bytes"), 0))->Next().status().code(),
            absl::StatusCode::kDataLoss);
}

TEST_F(LocalStoreTest, AnObjectDeletedUnderItsReaderIsNotFound) {
  const ObjectRef ref = Upload("u", "x", RandomText(3 * kMiB, 1));
  auto reader = store_->Open(ref.hash, 0);
  ASSERT_TRUE((*reader)->Next().ok());
  ASSERT_TRUE(Drop("u").ok());
  EXPECT_EQ((*reader)->Next().status().code(), absl::StatusCode::kNotFound);
}

TEST_F(LocalStoreTest, OpeningRemovesWhatTheIndexDoesNotName) {
  const ObjectRef ref = Upload("u", "x", RandomText(2 * kMiB, 1));
  std::filesystem::create_directories(folder_ / "chunks/00");
  std::ofstream(folder_ / "chunks/00/no hash") << "x";
  std::ofstream(folder_ / ("chunks/00/" + std::string(64, '0'))) << "x";
  std::ofstream(folder_ / ("chunks/00/" + ref.hash.Hex())) << "x";
  std::ofstream(folder_ / "tmp/17") << "x";
  ASSERT_EQ(ChunkFileCount(), 5u);
  Reopen();
  EXPECT_EQ(ChunkFileCount(), 2u);
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / "tmp"));
  EXPECT_EQ(ReadAll(ref.hash).size(), ref.size_bytes);
}

TEST_F(LocalStoreTest, OneProcessAtATime) {
  const absl::Status status = OpenLocalStore(folder_.path()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("in use"));
}

TEST_F(LocalStoreTest, ANewerIndexIsLeftAlone) {
  store_.reset();
  Sql("PRAGMA user_version = 2");
  EXPECT_EQ(OpenLocalStore(folder_.path()).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(LocalStoreTest, ReadingGoesOnWhileSomeoneWrites) {
  StageOne("s", "x", "bytes");
  sqlite::Database other = *sqlite::Database::Open(folder_ / "index.db");
  ASSERT_TRUE(other.Run("BEGIN IMMEDIATE").ok());
  EXPECT_EQ(ReadAll(crypto::Blake3("bytes")), "bytes");
  EXPECT_EQ(store_->Staged("s")->size(), 1u);
  ASSERT_TRUE(other.Run("ROLLBACK").ok());
}

// Threads that stage, keep, drop and read the same few objects: nothing that is named may be
// missing, whatever crosses.
TEST_F(LocalStoreTest, ThreadsDoNotTakeEachOthersBytes) {
  const std::vector<std::string> contents = {RandomText(kMiB + 10, 1), RandomText(kMiB + 20, 2),
                                             "small one", "small two"};
  std::vector<std::jthread> threads;
  threads.reserve(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      for (int i = 0; i < 60; ++i) {
        const std::string scope = fmt::format("{}-{}", t, i);
        const std::string& data = contents[random() % contents.size()];
        const crypto::Hash hash = crypto::Blake3(data);
        if (data.size() > ObjectStore::kSmallBytes) {
          Upload(scope, "x", data);
        } else {
          StageOne(scope, "x", data);
        }
        EXPECT_TRUE(ReadAll(hash) == data);
        const std::string owner = fmt::format("owner-{}", t);
        EXPECT_TRUE(random() % 2 == 0 ? Keep(scope, owner).ok() : Drop(scope).ok());
        if (random() % 4 == 0) {
          EXPECT_TRUE(store_->Release(owner).ok());
        }
      }
      EXPECT_TRUE(store_->Release(fmt::format("owner-{}", t)).ok());
    });
  }
  threads.clear();
  ExpectEmpty();
}

}  // namespace
}  // namespace corpgrid::objects
