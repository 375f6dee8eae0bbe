#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <latch>
#include <map>
#include <random>
#include <thread>

#include "base/testing/faulty_vfs.h"
#include "base/testing/kill_child.h"
#include "base/testing/small_disk.h"
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

using LocalStoreFaultTest = LocalStoreTest;

TEST_F(LocalStoreFaultTest, ADiskThatFillsUpUnderAChunkIsSaidAndLeavesNothing) {
  bool full = true;
  Reopen({.write = [&](int fd, const void* data, size_t size) -> ssize_t {
    if (!full || size > kMiB / 2) return ::write(fd, data, full ? kMiB / 2 : size);
    errno = ENOSPC;
    return -1;
  }});
  const std::string data = RandomText(3 * kMiB, 1);
  const absl::Status status = UploadObject(*store_, "u", "x", data).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(status.message(), HasSubstr(folder_.path()));
  EXPECT_THAT(status.message(), HasSubstr("No space left"));
  EXPECT_EQ(FilesBelow(folder_ / "tmp"), 0u);
  EXPECT_EQ(ChunkFileCount(), 0u);
  EXPECT_THAT(*store_->Staged("u"), IsEmpty());
  full = false;
  EXPECT_EQ(Upload("u", "x", data).hash, crypto::Blake3(data));
}

TEST_F(LocalStoreFaultTest, FailingDisksAreUnavailable) {
  int fail_sync = 0;
  int fail_rename = 0;
  int fail_read = 0;
  Reopen({.read = [&](int fd, void* to, size_t size) -> ssize_t {
            if (fail_read == 0) return ::read(fd, to, size);
            errno = fail_read;
            return -1;
          },
          .sync = [&](int fd) { return fail_sync == 0 ? ::fsync(fd) : (errno = fail_sync, -1); },
          .rename =
              [&](const char* from, const char* to) {
                return fail_rename == 0 ? ::rename(from, to) : (errno = fail_rename, -1);
              }});
  const std::string data = RandomText(3 * kMiB, 1);
  fail_sync = EIO;
  EXPECT_EQ(UploadObject(*store_, "u", "x", data).status().code(), absl::StatusCode::kUnavailable);
  fail_sync = 0;
  fail_rename = EIO;
  EXPECT_EQ(UploadObject(*store_, "u", "x", data).status().code(), absl::StatusCode::kUnavailable);
  fail_rename = 0;
  EXPECT_EQ(ChunkFileCount() + FilesBelow(folder_ / "tmp"), 0u);
  const ObjectRef ref = Upload("u", "x", data);
  fail_read = EIO;
  EXPECT_EQ((*store_->Open(ref.hash, 0))->Next().status().code(), absl::StatusCode::kUnavailable);
  fail_read = 0;
  EXPECT_TRUE(ReadAll(ref.hash) == data);
}

TEST_F(LocalStoreFaultTest, ShortReadsAndWritesAreGoneOnWith) {
  Reopen({.write = [](int fd, const void* data,
                      size_t size) { return ::write(fd, data, std::min<size_t>(size, 77'777)); },
          .read = [](int fd, void* to,
                     size_t size) { return ::read(fd, to, std::min<size_t>(size, 55'555)); }});
  const std::string data = RandomText(2 * kMiB + 9, 1);
  EXPECT_TRUE(ReadAll(Upload("u", "x", data).hash) == data);
}

// What a power cut must not find: a name whose bytes, or an index whose names, are not yet on disk.
TEST_F(LocalStoreFaultTest, ChunksAreFlushedBeforeTheyAreNamedAndNamedBeforeTheIndex) {
  corpgrid::testing::FaultyVfs vfs;
  std::vector<std::string> order;
  const auto note = [&](const std::string& what) {
    order.push_back(vfs.syncs > 0 ? "index, " + what : what);
  };
  Reopen({.sync =
              [&](int fd) {
                struct stat about{};
                ::fstat(fd, &about);
                note(S_ISDIR(about.st_mode) ? "sync folder" : "sync file");
                return ::fsync(fd);
              },
          .rename =
              [&](const char* from, const char* to) {
                note("rename");
                return ::rename(from, to);
              }});
  auto writer = store_->OpenStaged("u", "x", 3 * kMiB);
  ASSERT_TRUE((*writer)->Append(RandomText(kMiB + 1, 1)).ok());
  order.clear();
  vfs.syncs = 0;
  ASSERT_TRUE((*writer)->Finish().ok());
  EXPECT_THAT(order, ElementsAre("sync file", "sync file", "sync folder", "rename", "rename",
                                 "sync folder", "sync folder"));
  EXPECT_GT(vfs.syncs, 0);
  writer->reset();
  store_.reset();  // before its file layer
}

TEST_F(LocalStoreFaultTest, AnIndexThatCannotBeWrittenChangesNothing) {
  corpgrid::testing::FaultyVfs vfs;
  Reopen();
  StageOne("s", "before", "before");
  const std::string large = RandomText(2 * kMiB, 1);
  for (const int error : {SQLITE_FULL, SQLITE_IOERR_WRITE}) {
    vfs.write_error = error;
    const auto code = error == SQLITE_FULL ? absl::StatusCode::kResourceExhausted
                                           : absl::StatusCode::kUnavailable;
    const SmallObject object{"s", "out", "bytes"};
    EXPECT_EQ(store_->StageSmall({&object, 1}).status().code(), code);
    EXPECT_EQ(Keep("s", "job").code(), code);
    EXPECT_EQ(UploadObject(*store_, "s", "large", large).status().code(), code);
    vfs.write_error = SQLITE_OK;
    EXPECT_EQ(store_->Staged("s")->size(), 1u);
    EXPECT_EQ(ChunkFileCount(), 0u);
  }
  StageOne("s", "out", "bytes");
  Upload("s", "large", large);
  EXPECT_EQ(store_->Staged("s")->size(), 3u);
  store_.reset();  // before its file layer
}

// In one transaction with others, the one that fails must not take the others with it.
TEST(GroupCommitTest, OneCallersErrorIsItsOwn) {
  const corpgrid::testing::TempFolder folder;
  sqlite::Database db = *sqlite::Database::Open(folder / "x.db");
  ASSERT_TRUE(db.RunScript("CREATE TABLE t(a INTEGER)").ok());
  GroupCommit commit(std::move(db));
  std::latch leading(1);
  std::latch release(1);
  std::jthread leader([&] {
    EXPECT_TRUE(commit
                    .Run([&](sqlite::Database&) {
                      leading.count_down();
                      release.wait();
                      return absl::OkStatus();
                    })
                    .ok());
  });
  leading.wait();
  std::atomic<int> bad_runs = 0;
  std::latch started(4);
  std::vector<std::jthread> threads;
  threads.reserve(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      started.count_down();
      const absl::Status status = commit.Run([&](sqlite::Database& d) {
        bad_runs += t == 1 ? 1 : 0;
        const absl::Status inserted = d.Run("INSERT INTO t VALUES(?)", t);
        return t == 1 ? absl::InternalError("mine") : inserted;
      });
      EXPECT_EQ(status, t == 1 ? absl::InternalError("mine") : absl::OkStatus());
    });
  }
  started.wait();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));  // until all four wait
  release.count_down();
  threads.clear();
  EXPECT_EQ(bad_runs, 2) << "once with the others, once alone";
  sqlite::ReadPool readers(folder / "x.db");
  auto reader = readers.Take();
  sqlite::Query query = *(*reader)->Ask("SELECT COUNT(*), SUM(a) FROM t");
  ASSERT_TRUE(*query.Next());
  EXPECT_EQ(query.Int(0), 3);
  EXPECT_EQ(query.Int(1), 0 + 2 + 3);
}

constexpr int kNoMount = 77;

void FillAndRecover(const std::string& folder) {
  if (!corpgrid::testing::MountSmallDisk(folder, 8 * kMiB)) ::_exit(kNoMount);
  auto opened = OpenLocalStore(folder + "/store");
  ASSERT_TRUE(opened.ok()) << opened.status();
  ObjectStore& store = **opened;
  const SmallObject kept{"s", "kept", "kept bytes"};
  ASSERT_TRUE(store.StageSmall({&kept, 1}).ok());
  const std::string large = RandomText(3 * kMiB, 1);

  corpgrid::testing::FillDisk(folder + "/ballast");
  absl::Status status = UploadObject(store, "s", "large", large).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_THAT(status.message(), HasSubstr(folder));
  int staged = 0;
  status = absl::OkStatus();
  const std::string filler = RandomText(60'000, 2);
  for (; status.ok() && staged < 1000; ++staged) {
    const std::string name = fmt::format("{}", staged);
    const std::string data = filler + name;
    const SmallObject object{"fill", name, data};
    status = store.StageSmall({&object, 1}).status();
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_EQ(store.Staged("fill")->size(), static_cast<size_t>(staged - 1));
  EXPECT_EQ(ReadObject(store, crypto::Blake3("kept bytes")), "kept bytes");

  std::filesystem::remove(folder + "/ballast");
  EXPECT_EQ(store.Drop(std::vector<std::string>{"fill"}), absl::OkStatus());
  const auto ref = UploadObject(store, "s", "large", large);
  ASSERT_TRUE(ref.ok()) << ref.status();
  EXPECT_TRUE(ReadObject(store, ref->hash) == large);
}

TEST(LocalStoreDiskTest, AFullDiskIsSaidAndForgotten) {
  const corpgrid::testing::TempFolder folder;
  EXPECT_EXIT(
      {
        FillAndRecover(folder.path());
        ::_exit(::testing::Test::HasFailure() ? 1 : 0);
      },
      [](int status) {
        if (WIFEXITED(status) && WEXITSTATUS(status) == kNoMount) {
          fmt::print("NOT TESTED: this machine allows no mounts\n");
          return true;
        }
        return WIFEXITED(status) && WEXITSTATUS(status) == 0;
      },
      "");
}

// What the child of the kill test does until it dies: stages, keeps and drops small and large
// objects from three threads and tells each that was acknowledged. The content of an object follows
// from its scope's name.
std::string ContentOf(const std::string& scope) {
  const crypto::Hash hash = crypto::Blake3(scope);
  const bool large = hash.bytes[0] < 64;
  const std::string unique = RandomText(large ? 300'000 + hash.bytes[1] : hash.bytes[1] * 20,
                                        hash.bytes[2] * 256u + hash.bytes[3]);
  // Large ones share their first chunks, so that counting chunks is tested too.
  return large ? RandomText((hash.bytes[4] % 3) * kMiB, 1) + scope + unique : scope + unique;
}

void WorkUntilKilled(const std::string& folder, int round, int ack) {
  auto store = OpenLocalStore(folder);
  if (!store.ok()) {
    corpgrid::testing::WriteLine(ack, fmt::format("error {}", store.status().ToString()));
    return;
  }
  std::vector<std::jthread> threads;
  threads.reserve(4);
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0;; ++i) {
        const std::string scope = fmt::format("{}-{}-{}", round, t, i);
        const std::string data = ContentOf(scope);
        const SmallObject object{scope, "out", data};
        const absl::Status staged = data.size() > ObjectStore::kSmallBytes
                                        ? UploadObject(**store, scope, "out", data).status()
                                        : (*store)->StageSmall({&object, 1}).status();
        corpgrid::testing::WriteLine(ack,
                                     fmt::format("{} {}", staged.ok() ? "staged" : "error", scope));
        const std::vector<std::string> drop = {scope};
        const std::pair<std::string, std::string> keep(scope, "job");
        corpgrid::testing::WriteLine(ack, "ending " + scope);
        if (i % 3 == 0 && (*store)->Keep({&keep, 1}).ok()) {
          corpgrid::testing::WriteLine(ack, "kept " + scope);
        }
        if (i % 3 == 1 && (*store)->Drop(drop).ok()) {
          corpgrid::testing::WriteLine(ack, "dropped " + scope);
        }
        if (i % 3 == 2) corpgrid::testing::WriteLine(ack, "staged " + scope);
      }
    });
  }
}

TEST_F(LocalStoreFaultTest, KilledAtAnyMomentItKeepsWhatItAcknowledged) {
  store_.reset();
  std::mt19937 random(20261121);
  std::map<std::string, std::string> state;  // of each scope, by its last acknowledgement
  int kept = 0;
  for (int round = 0; round < 60; ++round) {
    const std::chrono::microseconds delay(2'000 + random() % 60'000);
    for (const std::string& line : corpgrid::testing::RunAndKill(
             [&](int ack) { WorkUntilKilled(folder_.path(), round, ack); }, delay)) {
      const size_t space = line.find(' ');
      state[line.substr(space + 1)] = line.substr(0, space);
      ASSERT_NE(line.substr(0, space), "error") << line;
    }
    Reopen();
    for (const auto& [scope, last] : state) {
      const std::string data = ContentOf(scope);
      const std::string found = ReadObject(*store_, crypto::Blake3(data));
      if (last == "staged" || last == "kept") {
        ASSERT_TRUE(found == data)
            << round << ": " << last << " " << scope << ": " << found.substr(0, 200);
      }
      if (last == "dropped") {
        ASSERT_FALSE(*store_->Has(crypto::Blake3(data))) << scope;
      }
      kept += last == "kept" ? 1 : 0;
    }
    sqlite::ReadPool readers(folder_ / "index.db");
    auto db = readers.Take();
    sqlite::Query chunks = *(*db)->Ask("SELECT COUNT(*) FROM chunks");
    ASSERT_TRUE(*chunks.Next());
    EXPECT_EQ(static_cast<size_t>(chunks.Int(0)), ChunkFileCount());
    EXPECT_EQ(FilesBelow(folder_ / "tmp"), 0u);
    store_.reset();
    // Older rounds are checked enough; end their scopes so that the test stays quick.
    if (round % 10 == 9) {
      Reopen();
      ASSERT_TRUE(store_->Drop(*store_->Scopes()).ok());
      ASSERT_TRUE(store_->Release("job").ok());
      ExpectEmpty();
      store_.reset();
      state.clear();
    }
  }
  EXPECT_GT(kept, 0);
}

}  // namespace
}  // namespace corpgrid::objects
