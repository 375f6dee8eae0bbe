#include "runner/inside/shard.h"

#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstring>

#include "runner/inside/seccomp.h"
#include "runner/inside/system.h"
#include "runner/shard_end.h"

namespace corpgrid::runner::inside {
namespace {

// Most shards of a short job end before the first look, so that watching costs them nothing.
constexpr int64_t kWatchUs = 50'000;
// Of the time, at most, that watching many processes may take.
constexpr int64_t kWatchShare = 20;
constexpr int64_t kWallGraceUs = 1'000'000;
constexpr int64_t kNever = INT64_MAX;

// What the host may send while a shard is being run.
union Request {
  protocol::Kind kind;
  protocol::CancelRequest cancel;
  protocol::StepRequest step;
  Request() : cancel() {}
};
static_assert(sizeof(protocol::CancelRequest) != sizeof(protocol::StepRequest));

// What the runner, the init of a shard and its command until exec see of each other: one memory.
struct Launch {
  char* const* argv;
  char* const* env;
  const char* const* programs;
  int error;   // errno of the start, 0 when it worked
  int status;  // of the command, from wait4
};
Launch launch;

constexpr size_t kStackBytes = 32 << 10;
alignas(64) char init_stack[kStackBytes];
alignas(64) char command_stack[kStackBytes];

// From here to exec: system calls only, none of them through `errno`.
int CommandMain(void*) {
  // A group of its own, so that kill(0) reaches nobody else; a session would cost a scheduling
  // group for each shard.
  Sys(SYS_setpgid, 0, 0);
  int error = ENOENT;
  for (const char* const* program = launch.programs; *program != nullptr; ++program) {
    int now = -Sys(SYS_execve, Word(*program), Word(launch.argv), Word(launch.env));
    if (now == EACCES) error = now;  // as execvp: a later one may do, else this is the reason
    if (now == EACCES || now == ENOENT || now == ENOTDIR) continue;
    error = now;
    break;
  }
  launch.error = error;
  Sys(SYS_exit_group, 127);
  return 0;
}

// PID 1 of the shard's namespace, so that the command is none: for a PID 1 abort() and most signals
// do nothing. It ends with the command, and with it the kernel ends all that is left.
int InitMain(void*) {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[2] = {};
  launch.error = -Sys(SYS_capset, Word(&header), Word(none));
  if (launch.error != 0) return 1;
  // clone() itself would be fine but for errno, which is the runner's too.
  // Not CLONE_VFORK: being woken at the exec would be one switch more, and there is nothing to do.
  pid_t command = clone(CommandMain, command_stack + kStackBytes, CLONE_VM | SIGCHLD, nullptr);
  if (command < 0) {
    launch.error = EAGAIN;
    return 1;
  }
  for (long pid = 0; pid != command;) {
    pid = Sys(SYS_wait4, -1, Word(&launch.status), 0, 0);
    if (pid < 0 && pid != -EINTR) return 1;
  }
  // The kernel would kill the rest as well, but count none of their time as ours.
  int status;
  if (Sys(SYS_wait4, -1, Word(&status), WNOHANG, 0) == -ECHILD) return 0;
  Sys(SYS_kill, -1, SIGKILL);
  while (Sys(SYS_wait4, -1, Word(&status), 0, 0) != -ECHILD) {
  }
  return 0;
}

}  // namespace

ShardRunner::ShardRunner(const protocol::Setup& setup, int control, Scratch* scratch,
                         Streams* streams)
    : setup_(setup), control_(control), scratch_(scratch), streams_(streams) {}

bool ShardRunner::Parse(std::string_view packet) {
  if (packet.size() < sizeof request_) return false;
  memcpy(&request_, packet.data(), sizeof request_);
  strings_.assign(packet.substr(sizeof request_));
  argv_.clear();
  env_.clear();
  for (size_t at = 0; at < strings_.size();) {
    size_t end = strings_.find('\0', at);
    if (end == std::string::npos) return false;
    (argv_.size() < request_.argc ? argv_ : env_).push_back(&strings_[at]);
    at = end + 1;
  }
  if (argv_.size() != request_.argc || env_.size() != request_.envc) return false;
  argv_.push_back(nullptr);
  env_.push_back(nullptr);
  return request_.argc > 0;
}

void ShardRunner::ListPrograms() {
  programs_.clear();
  program_paths_.clear();
  if (strchr(argv_[0], '/') != nullptr) {
    program_paths_ = {argv_[0], nullptr};
    return;
  }
  std::string_view path = "/usr/local/bin:/usr/bin:/bin";
  for (char* variable : env_) {
    if (variable != nullptr && strncmp(variable, "PATH=", 5) == 0) path = variable + 5;
  }
  for (size_t at = 0; at <= path.size();) {
    size_t end = std::min(path.find(':', at), path.size());
    std::string folder(path.substr(at, end - at));
    programs_.push_back((folder.empty() ? "." : folder) + "/" + argv_[0]);
    at = end + 1;
  }
  for (const std::string& program : programs_) program_paths_.push_back(program.c_str());
  program_paths_.push_back(nullptr);
}

protocol::RunReply ShardRunner::Run(std::string_view packet) {
  if (!Parse(packet)) Die("malformed request", EPROTO);
  ListPrograms();
  scratch_->Reset();
  streams_->Begin(request_.sequence, request_.log_bytes);
  stop_ = Stop::kNo;
  disk_was_full_ = frozen_ = false;
  if (request_.prepare != 0 && !AwaitStart()) {
    protocol::RunReply reply;
    reply.sequence = request_.sequence;
    reply.end = static_cast<uint32_t>(ShardEnd::kCancelled);
    return reply;
  }
  launch = {argv_.data(), env_.data(), program_paths_.data(), 0, 0};

  start_us_ = NowUs();
  kill_at_us_ = kNever;
  watch_at_us_ = start_us_ + kWatchUs;
  init_ = clone(InitMain, init_stack + kStackBytes, kInitCloneFlags, nullptr, &init_pidfd_);
  if (init_ < 0) Die("cannot make the namespaces of a shard");
  Supervise();
  rusage usage = {};
  int status = 0;
  long ended;
  while ((ended = Sys(SYS_wait4, init_, Word(&status), 0, Word(&usage))) == -EINTR) {
  }
  if (ended != init_) Die("cannot wait for a shard", -ended);
  end_us_ = NowUs();
  close(init_pidfd_);
  streams_->Finish();
  bool by_itself = WIFEXITED(status) && (WEXITSTATUS(status) == 0 || launch.error != 0);
  if (!by_itself && stop_ == Stop::kNo) {
    // No shard can do that: a person did, or a machine short of memory. The command has no end that
    // could be told.
    Die("the init of a shard was killed", 0);
  }
  if (!by_itself) launch.status = SIGKILL;  // the command went with it
  return Reply(usage);
}

void ShardRunner::Supervise() {
  pollfd fds[2 + Streams::kCount] = {{init_pidfd_, POLLIN, 0}, {control_, POLLIN, 0}};
  for (int i = 0; i < Streams::kCount; ++i) fds[2 + i] = {streams_->read_end(i), POLLIN, 0};
  const int64_t deadline_us = start_us_ + std::min(request_.wall_ms, INT64_MAX / 4000) * 1000;
  for (int64_t now = start_us_;;) {
    int64_t next = std::min({stop_ == Stop::kNo ? deadline_us : kNever, kill_at_us_, watch_at_us_});
    int64_t wait_us = std::max<int64_t>(next - now, 0);
    timespec timeout = {wait_us / 1'000'000, wait_us % 1'000'000 * 1000};
    long n = Sys(SYS_ppoll, Word(fds), std::size(fds), Word(&timeout), 0, 0);
    if (n < 0 && n != -EINTR) Die("poll", -n);
    if (n > 0 && fds[0].revents != 0) return;
    for (int i = 0; n > 0 && i < Streams::kCount; ++i) {
      if (fds[2 + i].revents != 0) streams_->Drain(i);
    }
    if (n > 0 && fds[1].revents != 0) TakeRequest();

    now = NowUs();
    if (stop_ == Stop::kNo && now >= deadline_us) BeginStop(Stop::kWallLimit, kWallGraceUs);
    if (now >= kill_at_us_) KillNow();
    if (now >= watch_at_us_) {
      WatchMemory();
      int64_t after = NowUs();
      watch_at_us_ = after + std::max(kWatchUs, (after - now) * kWatchShare);
      now = after;
    }
  }
}

// Whether the command is to start: the host has filled the work folder.
bool ShardRunner::AwaitStart() {
  Answer(protocol::Kind::kStart, true);
  for (;;) {
    Request request;
    long n = Sys(SYS_recvfrom, control_, Word(&request), sizeof request);
    if (n == -EINTR) continue;
    if (n <= 0) _exit(0);  // the agent is gone
    if (n == sizeof request.cancel && request.kind == protocol::Kind::kCancel) {
      if (request.cancel.sequence == request_.sequence) return false;
    } else if (n == sizeof request.step && request.kind == protocol::Kind::kStart) {
      if (request.step.sequence == request_.sequence) return true;
    } else if (n != sizeof request.step || request.kind == protocol::Kind::kRun) {
      Die("malformed packet", EPROTO);
    }
  }
}

void ShardRunner::TakeRequest() {
  Request request;
  long n = Sys(SYS_recvfrom, control_, Word(&request), sizeof request, MSG_DONTWAIT);
  if (n == -EAGAIN || n == -EINTR) return;
  if (n <= 0) _exit(0);  // the agent is gone: as PID 1 we take everything with us
  if (n == sizeof request.cancel && request.kind == protocol::Kind::kCancel) {
    if (request.cancel.sequence == request_.sequence) TakeCancel(request.cancel);
  } else if (n == sizeof request.step && request.kind > protocol::Kind::kStart &&
             request.kind <= protocol::Kind::kThaw) {
    if (request.step.sequence == request_.sequence) TakeStep(request.step);
  } else {
    Die("malformed packet", EPROTO);
  }
}

void ShardRunner::TakeCancel(const protocol::CancelRequest& cancel) {
  if (stop_ != Stop::kNo) return;
  int64_t grace_ms = std::clamp<int64_t>(cancel.grace_ms, 0, request_.wall_ms);
  BeginStop(Stop::kCancelled, grace_ms * 1000);
}

void ShardRunner::TakeStep(const protocol::StepRequest& step) {
  const bool was_frozen = frozen_;
  if (step.kind == protocol::Kind::kFreeze) {
    // Who is being ended is let run, to end.
    if (!frozen_ && stop_ == Stop::kNo) frozen_ = processes_.Freeze(init_);
    return Answer(step.kind, frozen_);
  }
  Thaw();
  Answer(step.kind, was_frozen);
}

void ShardRunner::Answer(protocol::Kind kind, bool done) {
  const protocol::StepReply reply = {kind, request_.sequence, done};
  if (send(control_, &reply, sizeof reply, MSG_NOSIGNAL) != sizeof reply) _exit(0);
}

void ShardRunner::Thaw() {
  if (frozen_) processes_.Thaw();
  frozen_ = false;
}

void ShardRunner::BeginStop(Stop why, int64_t grace_us) {
  stop_ = why;
  Thaw();
  processes_.Signal(init_, SIGTERM);
  kill_at_us_ = NowUs() + grace_us;
}

void ShardRunner::KillNow() {
  kill(init_, SIGKILL);
  kill_at_us_ = kNever;
}

void ShardRunner::WatchMemory() {
  Scratch::Use disk = scratch_->Used();
  disk_was_full_ |= disk.full;
  Processes::Memory memory =
      processes_.MemoryOf(init_, setup_.memory_bytes - std::min(setup_.memory_bytes, disk.bytes));
  // Files of /work that are mapped are in both: the larger of the two, so that nobody is killed for
  // counting twice.
  if (memory.private_bytes + std::max(memory.shared_bytes, disk.bytes) <= setup_.memory_bytes) {
    return;
  }
  stop_ = Stop::kMemoryLimit;
  KillNow();
}

protocol::RunReply ShardRunner::Reply(const rusage& usage) {
  protocol::RunReply reply;
  reply.sequence = request_.sequence;
  bool signaled = WIFSIGNALED(launch.status);
  reply.code = signaled ? WTERMSIG(launch.status) : WEXITSTATUS(launch.status);
  ShardEnd end = signaled ? ShardEnd::kSignaled : ShardEnd::kExited;
  if (stop_ == Stop::kCancelled) {
    end = ShardEnd::kCancelled;
  } else if (stop_ == Stop::kWallLimit) {
    end = ShardEnd::kWallLimit;
  } else if (stop_ == Stop::kMemoryLimit) {
    end = ShardEnd::kMemoryLimit;
  } else if (launch.error != 0) {
    end = ShardEnd::kNotStarted;
    reply.code = launch.error;
  } else if (launch.status != 0 && (disk_was_full_ || scratch_->Used().full)) {
    end = ShardEnd::kDiskLimit;
  }
  reply.end = static_cast<uint32_t>(end);
  reply.wall_us = end_us_ - start_us_;
  reply.cpu_us = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1'000'000 +
                 usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
  reply.max_rss_bytes = static_cast<uint64_t>(usage.ru_maxrss) << 10;
  for (int i = 0; i < 2; ++i) reply.written[i] = streams_->written(i);
  return reply;
}

}  // namespace corpgrid::runner::inside
