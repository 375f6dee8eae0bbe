#pragma once

#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/sqlite.h"
#include "base/testing/temp_folder.h"
#include "gtest/gtest.h"
#include "objects/local_store.h"

namespace corpgrid::objects {

inline std::string RandomText(size_t size, uint64_t seed) {
  std::mt19937_64 random(seed + 1);
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

inline void FlipBit(const std::string& path, std::streamoff at) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  ASSERT_TRUE(file.good()) << path;
  file.seekg(at);
  const int byte = file.get();
  file.seekp(at);
  file.put(static_cast<char>(byte ^ 1));
}

inline size_t FilesBelow(const std::string& folder) {
  size_t count = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_directory()) ++count;
  }
  return count;
}

// All bytes of an object, or "error: ..." with what went wrong.
inline std::string ReadObject(ObjectStore& store, const crypto::Hash& hash, uint64_t offset = 0) {
  auto reader = store.Open(hash, offset);
  if (!reader.ok()) return "error: " + std::string{reader.status().message()};
  std::string all;
  for (;;) {
    absl::StatusOr<std::string> part = (*reader)->Next();
    if (!part.ok()) return "error: " + std::string{part.status().message()};
    if (part->empty()) return all;
    all += *part;
  }
}

inline absl::StatusOr<ObjectRef> UploadObject(ObjectStore& store, std::string_view scope,
                                              std::string_view name, std::string_view data) {
  auto writer = store.OpenStaged(scope, name, data.size());
  if (!writer.ok()) return writer.status();
  for (size_t at = 0; at < data.size(); at += 100'000) {
    if (absl::Status s = (*writer)->Append(data.substr(at, 100'000)); !s.ok()) return s;
  }
  return (*writer)->Finish();
}

class LocalStoreTest : public ::testing::Test {
 protected:
  void SetUp() override { Reopen(); }

  void Reopen(FileCalls calls = {}) {
    store_.reset();
    auto store = OpenLocalStoreWith(folder_.path(), std::move(calls));
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }

  ObjectRef Upload(std::string_view scope, std::string_view name, std::string_view data) {
    const absl::StatusOr<ObjectRef> ref = UploadObject(*store_, scope, name, data);
    EXPECT_TRUE(ref.ok()) << ref.status();
    return ref.value_or(ObjectRef{});
  }

  void StageOne(std::string_view scope, std::string_view name, std::string_view data) {
    const SmallObject object{scope, name, data};
    const auto refs = store_->StageSmall({&object, 1});
    EXPECT_TRUE(refs.ok()) << refs.status();
  }

  absl::Status Keep(const std::string& scope, const std::string& owner) {
    const std::pair<std::string, std::string> pair(scope, owner);
    return store_->Keep({&pair, 1});
  }

  absl::Status Drop(const std::string& scope) { return store_->Drop({&scope, 1}); }

  std::string ReadAll(const crypto::Hash& hash, uint64_t offset = 0) {
    return ReadObject(*store_, hash, offset);
  }

  std::string ChunkPath(const crypto::Hash& hash) {
    return folder_ / ("chunks/" + hash.Hex().substr(0, 2) + "/" + hash.Hex());
  }

  size_t ChunkFileCount() { return FilesBelow(folder_ / "chunks"); }

  void Sql(const std::string& script) {
    sqlite::Database db = *sqlite::Database::Open(folder_ / "index.db");
    const absl::Status status = db.RunScript(script);
    ASSERT_TRUE(status.ok()) << status;
  }

  // No row and no file is left of anything.
  void ExpectEmpty() {
    sqlite::Database db = *sqlite::Database::Open(folder_ / "index.db");
    for (const char* table : {"objects", "blobs", "object_chunks", "chunks", "staged", "kept"}) {
      sqlite::Query query = *db.Ask("SELECT COUNT(*) FROM " + std::string(table));
      ASSERT_TRUE(*query.Next());
      EXPECT_EQ(query.Int(0), 0) << table;
    }
    EXPECT_EQ(ChunkFileCount(), 0u);
    EXPECT_EQ(FilesBelow(folder_ / "tmp"), 0u);
  }

  corpgrid::testing::TempFolder folder_;
  std::unique_ptr<ObjectStore> store_;
};

}  // namespace corpgrid::objects
