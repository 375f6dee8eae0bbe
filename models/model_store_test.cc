#include "models/model_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/testing/temp_folder.h"
#include "models/staged_file.h"
#include "models/test_models.h"

namespace corpgrid::models {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class ModelStoreTest : public ::testing::Test {
 protected:
  absl::Status AddModel(const std::string& name, const std::string& content = "GGUF content") {
    return AddTestModel(store_.get(), name, content);
  }

  testing::TempFolder folder_;
  std::unique_ptr<ModelStore> store_ = *ModelStore::Open(folder_ / "models");
};

TEST_F(ModelStoreTest, WhatWasCommittedIsThereAndNothingElse) {
  ASSERT_TRUE(AddModel("one").ok());
  ASSERT_TRUE(AddModel("two").ok());
  const auto model = store_->Find("one");
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->files[0].bytes, 12u);
  EXPECT_TRUE(fs::exists(store_->PathOf(*model)));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_ / "models/one"), {}), 2);
  EXPECT_TRUE(fs::is_empty(folder_ / "models/.staging"));
  EXPECT_EQ(AddModel("one").code(), absl::StatusCode::kAlreadyExists);
  const auto listing = store_->List();
  ASSERT_TRUE(listing.ok());
  EXPECT_EQ(listing->models.size(), 2u);
  EXPECT_THAT(std::string(store_->Find("ome").status().message()), HasSubstr("did you mean one?"));
  EXPECT_TRUE(store_->Remove("one").ok());
  EXPECT_EQ(store_->Remove("one").code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(fs::is_empty(folder_ / "models/.removed"));
  for (const char* odd : {"..", ".staging", "", "a/../two", "/"}) {
    EXPECT_EQ(store_->Remove(odd).code(), absl::StatusCode::kNotFound) << odd;
  }
  EXPECT_TRUE(store_->Find("two").ok());
}

TEST_F(ModelStoreTest, FilesThatAreNotAsTheManifestSaysAreNoModel) {
  ASSERT_TRUE(AddModel("one").ok());
  fs::resize_file(folder_ / "models/one/m.gguf", 3);
  EXPECT_EQ(store_->Find("one").status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(store_->List()->damaged, ::testing::ElementsAre(HasSubstr("one: ")));
  fs::remove(folder_ / "models/one/m.gguf");
  EXPECT_THAT(std::string(store_->Find("one").status().message()), HasSubstr("is missing"));
  EXPECT_TRUE(store_->Remove("one").ok());
}

TEST_F(ModelStoreTest, OneAtATimeAddsAModelOfAName) {
  auto first = store_->Stage("one", "here");
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(store_->Stage("one", "here").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(store_->Remove("one").code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(store_->List()->unfinished[0].running);
  EXPECT_TRUE(AddModel("two").ok());
}

TEST_F(ModelStoreTest, ALaterTryGoesOnUnlessItIsOfSomethingElse) {
  {
    auto staging = store_->Stage("one", "here");
    auto file = StagedFile::Open(*staging, "m.gguf");
    ASSERT_TRUE(file->Restart("etag").ok());
    ASSERT_TRUE(file->Append("GGUF and").ok());
    EXPECT_FALSE(staging->HasNothing());
  }
  EXPECT_EQ(store_->List()->unfinished[0].source, "here");
  {
    auto staging = store_->Stage("one", "here");
    auto file = StagedFile::Open(*staging, "m.gguf");
    EXPECT_EQ(file->bytes(), 8u);
    EXPECT_EQ(file->origin(), "etag");
    ASSERT_TRUE(file->Append(" more").ok());
    const auto stored = file->Finish(13, "");
    ASSERT_TRUE(stored.ok());
    Sha256 hash;
    hash.Add("GGUF and more");
    EXPECT_EQ(stored->sha256, hash.Digits());
  }
  {
    auto staging = store_->Stage("one", "here");
    EXPECT_TRUE(StagedFile::Open(*staging, "m.gguf")->finished());
  }
  auto staging = store_->Stage("one", "there");
  EXPECT_TRUE(staging->HasNothing());
  EXPECT_FALSE(StagedFile::Open(*staging, "m.gguf")->finished());
}

// A crash between the two left it to be made again, beside the first.
TEST_F(ModelStoreTest, AFileIsFinishedOnceThatIsWrittenDown) {
  auto staging = store_->Stage("one", "here");
  {
    auto file = StagedFile::Open(*staging, "m.gguf");
    ASSERT_TRUE(file->Restart("etag").ok());
    ASSERT_TRUE(file->Append("GGUF").ok());
    ASSERT_TRUE(file->Finish(4, "").ok());
  }
  fs::rename(staging->PathOf("m.gguf"), staging->PathOf("m.gguf.part"));
  const auto file = StagedFile::Open(*staging, "m.gguf");
  EXPECT_TRUE(file->finished());
  EXPECT_EQ(file->bytes(), 4u);
  EXPECT_TRUE(fs::exists(staging->PathOf("m.gguf")));
}

TEST_F(ModelStoreTest, BytesThatAPowerCutMayHaveTakenAreNotTrusted) {
  auto staging = store_->Stage("one", "here");
  {
    auto file = StagedFile::Open(*staging, "m.gguf");
    ASSERT_TRUE(file->Restart("etag").ok());
    ASSERT_TRUE(file->Append("GGUF never flushed").ok());
  }
  const std::string state = staging->PathOf("m.gguf.state");
  std::string text((std::istreambuf_iterator<char>(std::ifstream(state).rdbuf())), {});
  const size_t boot = text.find("\"boot\":\"");
  ASSERT_NE(boot, std::string::npos);
  text.replace(boot + 8, 4, "xxxx");
  std::ofstream(state) << text;
  EXPECT_EQ(StagedFile::Open(*staging, "m.gguf")->bytes(), 0u);
}

TEST_F(ModelStoreTest, WhatIsNotAsExpectedIsForgotten) {
  auto staging = store_->Stage("one", "here");
  auto file = StagedFile::Open(*staging, "m.gguf");
  ASSERT_TRUE(file->Restart("etag").ok());
  ASSERT_TRUE(file->Append("GGUF").ok());
  EXPECT_EQ(file->Finish(5, "").status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(file->bytes(), 0u);
  ASSERT_TRUE(file->Append("GGUF").ok());
  EXPECT_THAT(std::string(file->Finish(4, std::string(64, '0')).status().message()),
              HasSubstr("SHA-256"));
  EXPECT_FALSE(file->finished());
}

TEST_F(ModelStoreTest, OldLeftoversGoByThemselves) {
  {
    auto staging = store_->Stage("old", "here");
  }
  {
    auto staging = store_->Stage("young", "here");
  }
  auto running = store_->Stage("running", "here");
  const auto long_ago = fs::file_time_type::clock::now() - std::chrono::hours(8 * 24);
  for (const char* name : {"old", "running"}) {
    fs::last_write_time(folder_ / ("models/.staging/" + std::string(name)), long_ago);
  }
  ASSERT_TRUE(AddModel("one").ok());
  EXPECT_FALSE(fs::exists(folder_ / "models/.staging/old"));
  EXPECT_TRUE(fs::exists(folder_ / "models/.staging/young"));
  EXPECT_TRUE(fs::exists(folder_ / "models/.staging/running"));
}

// Whenever a process is killed, the store has the whole model or none.
TEST_F(ModelStoreTest, AKilledAddingLeavesAWholeModelOrNone) {
  int whole = 0;
  for (int turn = 0; turn < 60; ++turn) {
    const pid_t child = fork();
    if (child == 0) {
      const bool fine = AddModel("one", "GGUF" + std::string(100'000, 'x')).ok();
      _exit(fine ? 0 : 1);
    }
    usleep(static_cast<useconds_t>(turn * 100));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    const auto listing = store_->List();
    ASSERT_TRUE(listing.ok());
    ASSERT_TRUE(listing->damaged.empty()) << listing->damaged[0];
    if (listing->models.empty()) continue;
    ++whole;
    EXPECT_EQ(fs::file_size(store_->PathOf(listing->models[0])), 100'004u);
    ASSERT_TRUE(store_->Remove("one").ok());
  }
  ASSERT_TRUE(AddModel("one").ok());
  EXPECT_LT(whole, 60);
}

// What goes away, and comes back, between two looks at it was once called damaged.
TEST_F(ModelStoreTest, WhatIsReplacedMeanwhileIsNotDamaged) {
  std::atomic<bool> done = false;
  std::thread writer([&] {
    for (int turn = 0; turn < 300; ++turn) {
      EXPECT_TRUE(AddModel("one", "GGUF" + std::string(static_cast<size_t>(turn), 'x')).ok());
      EXPECT_TRUE(store_->Remove("one").ok());
    }
    done = true;
  });
  while (!done) {
    const auto found = store_->Find("one");
    EXPECT_TRUE(found.ok() || absl::IsNotFound(found.status())) << found.status();
  }
  writer.join();
}

TEST_F(ModelStoreTest, ManyThreadsAtOnce) {
  std::vector<std::thread> threads;
  for (int n = 0; n < 4; ++n) {
    threads.emplace_back([this, n] {
      const std::string own = "own-" + std::to_string(n);
      for (int turn = 0; turn < 10; ++turn) {
        EXPECT_TRUE(AddModel(own).ok());
        (void)AddModel("shared");
        EXPECT_TRUE(store_->Find(own).ok());
        EXPECT_TRUE(store_->List()->damaged.empty());
        EXPECT_TRUE(store_->Remove(own).ok());
        (void)store_->Remove("shared");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace corpgrid::models
