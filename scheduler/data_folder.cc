#include "scheduler/data_folder.h"

#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <thread>

#include "base/clock.h"
#include "base/status_macros.h"
#include "fmt/format.h"
#include "spdlog/spdlog.h"

namespace corpgrid::scheduler {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kEndKilledMs = 2000;

struct Note {
  pid_t pid = 0;
  Lead lead;
};

std::string LockPath(const std::string& folder) { return folder + "/lock"; }
std::string NotePath(const std::string& folder) { return folder + "/leader"; }

absl::Status WriteNote(const std::string& folder, const Lead& lead) {
  const std::string path = NotePath(folder);
  std::error_code error;
  if (lead.term == 0) {
    fs::remove(path, error);
    return absl::OkStatus();
  }
  std::ofstream out(path + ".new");
  out << ::getpid() << " " << lead.term << " " << lead.grid_id << "\n";
  out.close();
  if (out) fs::rename(path + ".new", path, error);
  if (out && !error) return absl::OkStatus();
  return absl::UnavailableError(fmt::format("cannot write {}; is the disk full?", path));
}

std::optional<Note> ReadNote(const std::string& folder) {
  std::ifstream in(NotePath(folder));
  Note note;
  if (!(in >> note.pid >> note.lead.term >> note.lead.grid_id)) return std::nullopt;
  return note;
}

// A number is another process's once its own has ended; what has the lock file open is no other.
bool HasOpen(pid_t pid, const std::string& path) {
  struct stat wanted{};
  if (::stat(path.c_str(), &wanted) != 0) return false;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(fmt::format("/proc/{}/fd", pid), error)) {
    struct stat found{};
    if (::stat(entry.path().c_str(), &found) != 0) continue;
    if (found.st_dev == wanted.st_dev && found.st_ino == wanted.st_ino) return true;
  }
  return false;
}

// Kills the process that led the grid before. False when there is none, or it may not be killed.
bool KillPredecessor(const std::string& folder, const Lead& lead) {
  const std::optional<Note> note = ReadNote(folder);
  if (!note || note->lead.grid_id != lead.grid_id || note->lead.term >= lead.term) return false;
  const UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, note->pid, 0)));
  if (!process.ok() || !HasOpen(note->pid, LockPath(folder))) return false;
  if (::syscall(SYS_pidfd_send_signal, process.get(), SIGKILL, nullptr, 0) != 0) return false;
  spdlog::warn("killed process {}, which led this grid before and did not leave {}", note->pid,
               folder);
  return true;
}

absl::StatusOr<FileLock> TakeWithin(const std::string& folder, int64_t ms) {
  const int64_t end_ms = SystemClock().MonotonicMs() + ms;
  for (;;) {
    absl::StatusOr<FileLock> lock = FileLock::Take(LockPath(folder));
    if (lock.ok() || SystemClock().MonotonicMs() >= end_ms) return lock;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

}  // namespace

absl::StatusOr<FileLock> TakeDataFolder(const std::string& folder, const Lead& lead) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    return absl::FailedPreconditionError(
        fmt::format("cannot make {}: {}", folder, error.message()));
  }
  if (::chmod(folder.c_str(), 0700) != 0) {
    return absl::FailedPreconditionError(fmt::format("{}: {}", folder, std::strerror(errno)));
  }
  absl::StatusOr<FileLock> lock = TakeWithin(folder, lead.term > 0 ? kEndByItselfMs : 0);
  if (!lock.ok() && KillPredecessor(folder, lead)) lock = TakeWithin(folder, kEndKilledMs);
  if (!lock.ok()) {
    return absl::AlreadyExistsError(fmt::format(
        "a scheduler already uses {}; stop it first, or choose another folder with --data: {}",
        fs::path(folder).parent_path().string(), std::string(lock.status().message())));
  }
  RETURN_IF_ERROR(WriteNote(folder, lead));
  return lock;
}

}  // namespace corpgrid::scheduler
