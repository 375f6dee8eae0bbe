#include "scheduler/data_folder.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "base/testing/temp_folder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::scheduler {
namespace {

using ::testing::HasSubstr;

// A process that has the folder and then does nothing more.
class Holder {
 public:
  Holder(const std::string& folder, const Lead& lead) {
    int ready[2];
    if (::pipe(ready) != 0) std::abort();
    pid_ = ::fork();
    if (pid_ == 0) {
      const auto lock = TakeDataFolder(folder, lead);
      const char answer = lock.ok() ? 'y' : 'n';
      if (::write(ready[1], &answer, 1) != 1) ::_exit(1);
      for (;;) ::pause();
    }
    char answer = 0;
    EXPECT_EQ(::read(ready[0], &answer, 1), 1);
    EXPECT_EQ(answer, 'y');
    ::close(ready[0]);
    ::close(ready[1]);
  }
  ~Holder() {
    Signal(SIGKILL);
    if (!ended_) ::waitpid(pid_, nullptr, 0);
  }

  void Signal(int number) const {
    if (!ended_) ::kill(pid_, number);
  }
  // Whether it ends at once, and by that.
  bool Killed() {
    for (int i = 0; i < 10 && !ended_; ++i) {
      ended_ = ::waitpid(pid_, &how_, WNOHANG) == pid_;
      if (!ended_) ::usleep(20'000);
    }
    return ended_ && WIFSIGNALED(how_) && WTERMSIG(how_) == SIGKILL;
  }

 private:
  pid_t pid_ = 0;
  bool ended_ = false;
  int how_ = 0;
};

class DataFolderTest : public ::testing::Test {
 protected:
  void ExpectInUse(const Lead& lead) {
    const absl::Status status = TakeDataFolder(folder_, lead).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists) << status;
    EXPECT_THAT(status.message(), HasSubstr("already uses"));
  }

  corpgrid::testing::TempFolder temp_;
  const std::string folder_ = temp_ / "scheduler";
};

TEST_F(DataFolderTest, OneSchedulerAtATime) {
  {
    const auto lock = TakeDataFolder(folder_, {});
    ASSERT_TRUE(lock.ok()) << lock.status();
    ExpectInUse({});
  }
  EXPECT_TRUE(TakeDataFolder(folder_, {}).ok());
}

TEST_F(DataFolderTest, AStoppedLeaderIsKilledByTheNextOne) {
  Holder holder(folder_, {.grid_id = "g", .term = 4});
  holder.Signal(SIGSTOP);
  const auto lock = TakeDataFolder(folder_, {.grid_id = "g", .term = 5});
  EXPECT_TRUE(lock.ok()) << lock.status();
  EXPECT_TRUE(holder.Killed());
}

TEST_F(DataFolderTest, NoLaterLeaderIsKilledAndNoOtherGridsAndNoneOfAnUnsharedStore) {
  const Lead of_sqlite;
  for (const Lead& has : {Lead{.grid_id = "g", .term = 6}, Lead{.grid_id = "g", .term = 5},
                          Lead{.grid_id = "h", .term = 4}, of_sqlite}) {
    Holder holder(folder_, has);
    ExpectInUse({.grid_id = "g", .term = 5});
    EXPECT_FALSE(holder.Killed());
  }
}

// The note is a leader's that has ended; its number is another process's now.
TEST_F(DataFolderTest, AProcessWithoutTheFolderIsNotKilled) {
  const Lead old{.grid_id = "g", .term = 4};
  Holder innocent(temp_ / "elsewhere", old);
  std::filesystem::create_directories(folder_);
  Holder holder(folder_, old);
  std::filesystem::copy_file(temp_ / "elsewhere/leader", folder_ + "/leader",
                             std::filesystem::copy_options::overwrite_existing);
  ExpectInUse({.grid_id = "g", .term = 5});
  EXPECT_FALSE(innocent.Killed());
  EXPECT_FALSE(holder.Killed());
}

}  // namespace
}  // namespace corpgrid::scheduler
