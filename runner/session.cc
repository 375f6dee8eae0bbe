#include "runner/session.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <optional>

#include "base/clock.h"
#include "base/status_macros.h"
#include "platform/file.h"
#include "platform/process.h"
#include "runner/protocol.h"
#include "sandbox/bubblewrap.h"

namespace corpgrid::runner {
namespace {

using platform::Fd;
using platform::SystemError;

constexpr int64_t kStartMs = 30'000;
// What the runner may take beyond a shard's wall time: its grace, and emptying the work folder.
constexpr int64_t kReplyMarginMs = 120'000;
constexpr int64_t kEndMs = 10'000;
constexpr int64_t kLongestMs = int64_t{1000} * 86400 * 3650;

int64_t NowMs() { return SystemClock().MonotonicMs(); }

struct Greeting {
  Fd work;
  pid_t runner = 0;  // in our PID namespace, as the kernel says
};

std::optional<Greeting> ReceiveHello(int control) {
  protocol::Hello hello;
  iovec data = {&hello, sizeof hello};
  alignas(cmsghdr) char space[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(ucred))];
  msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = space;
  message.msg_controllen = sizeof space;
  ssize_t n;
  do {  // A process that was stopped and goes on gets EINTR here.
    n = recvmsg(control, &message, MSG_CMSG_CLOEXEC);
  } while (n < 0 && errno == EINTR);
  Greeting greeting;
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); n >= 0 && part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET) continue;
    if (part->cmsg_type == SCM_RIGHTS && part->cmsg_len == CMSG_LEN(sizeof(int))) {
      int fd;
      memcpy(&fd, CMSG_DATA(part), sizeof fd);
      greeting.work = Fd(fd);
    } else if (part->cmsg_type == SCM_CREDENTIALS) {
      ucred sender;
      memcpy(&sender, CMSG_DATA(part), sizeof sender);
      greeting.runner = sender.pid;
    }
  }
  if (n != sizeof hello || !greeting.work || greeting.runner <= 0) return std::nullopt;
  return greeting;
}

// What bubblewrap or the runner wrote to stderr before it gave up.
std::string Complaint(int stderr_file) {
  char text[512];
  ssize_t n = pread(stderr_file, text, sizeof text, 0);
  while (n > 0 && text[n - 1] == '\n') --n;
  return n > 0 ? std::string(text, n) : std::string();
}

}  // namespace

std::map<std::string, std::string> UsualEnvironment() {
  return {{"PATH", "/usr/local/bin:/usr/bin:/bin"},
          {"HOME", "/work"},
          {"LANG", "C.UTF-8"},
          {"TMPDIR", "/tmp"}};
}

namespace {

class BubblewrapSession : public Session {
 public:
  BubblewrapSession(platform::Process bubblewrap, Fd control, Fd log, Fd complaint, Fd work,
                    Fd runner)
      : bubblewrap_(std::move(bubblewrap)),
        control_(std::move(control)),
        log_(std::move(log)),
        complaint_(std::move(complaint)),
        work_(std::move(work)),
        runner_(std::move(runner)) {}

  ~BubblewrapSession() override {
    // The runner is PID 1 of the sandbox: it ends only once everything in it has.
    syscall(SYS_pidfd_send_signal, runner_.get(), SIGKILL, nullptr, 0);
    pollfd ended = {runner_.get(), POLLIN, 0};
    while (poll(&ended, 1, kEndMs) < 0 && errno == EINTR) {
    }
    bubblewrap_.Wait(kEndMs);
  }

  absl::StatusOr<ShardExit> Run(const ShardRequest& request) override;

  bool Alive() const override {
    pollfd ended = {runner_.get(), POLLIN, 0};
    return poll(&ended, 1, 0) <= 0;
  }

  void Cancel(int64_t grace_ms) override {
    std::lock_guard lock(cancel_mutex_);
    protocol::CancelRequest cancel;
    cancel.sequence = running_.load();
    cancel.grace_ms = grace_ms;
    if (cancel.sequence != 0) send(control_.get(), &cancel, sizeof cancel, MSG_NOSIGNAL);
  }

  double Progress() const override {
    protocol::Progress progress;
    if (pread(log_.get(), &progress, sizeof progress, 0) != sizeof progress) return -1;
    bool valid =
        progress.sequence != 0 && progress.sequence == sequence_.load() && progress.fraction >= 0;
    return valid && progress.fraction <= 1 ? progress.fraction : -1;
  }

  int work_fd() const override { return work_.get(); }
  std::string Stdout(size_t max_bytes) const override { return Tail(0, max_bytes); }
  std::string Stderr(size_t max_bytes) const override { return Tail(1, max_bytes); }

 private:
  absl::Status Broken(const std::string& why);

  // What the runner says: nothing in time, the answer to a step, or the end of the shard.
  struct Packet {
    enum Kind { kNothing, kStep, kReply } kind = kNothing;
    protocol::StepReply step = {};
    protocol::RunReply reply = {};
    bool IsStep(protocol::Kind of) const { return kind == kStep && step.kind == of; }
  };
  // `running`: what Cancel() may end from then on.
  absl::Status Send(const void* packet, size_t size, uint32_t running);
  absl::Status Step(protocol::Kind kind);
  absl::StatusOr<Packet> Receive(int64_t until_ms);
  absl::Status Prepare(const std::function<absl::Status(int)>& prepare);
  absl::StatusOr<protocol::RunReply> Await(int64_t wall_ms, const Snapshots& snapshots);
  std::string Tail(int stream, size_t max_bytes) const;

  platform::Process bubblewrap_;
  const Fd control_, log_, complaint_, work_;
  const Fd runner_;  // pidfd
  std::atomic<uint32_t> sequence_ = 0;
  std::mutex cancel_mutex_;
  std::atomic<uint32_t> running_ = 0;  // the sequence of the shard that runs now, 0: none
  bool broken_ = false;
  uint64_t log_bytes_ = 1;
  uint64_t written_[2] = {};
  std::string packet_;
};

absl::Status BubblewrapSession::Broken(const std::string& why) {
  broken_ = true;
  written_[0] = written_[1] = 0;
  syscall(SYS_pidfd_send_signal, runner_.get(), SIGKILL, nullptr, 0);
  std::string last = Complaint(complaint_.get());
  return absl::UnavailableError(
      fmt::format("the sandbox broke: {}{}", why, last.empty() ? "" : " (" + last + ")"));
}

absl::StatusOr<ShardExit> BubblewrapSession::Run(const ShardRequest& request) {
  if (broken_) return absl::UnavailableError("the sandbox broke earlier");
  protocol::RunRequest header;
  header.sequence = ++sequence_;
  if (header.sequence == 0) header.sequence = ++sequence_;  // 0 means none
  header.wall_ms = std::clamp<int64_t>(request.wall_ms, 0, kLongestMs);
  header.log_bytes = std::clamp<uint64_t>(request.log_bytes, 1, protocol::kMaxLogBytes);
  header.argc = request.argv.size();
  header.envc = request.env.size();
  header.prepare = request.prepare ? 1 : 0;

  packet_.assign(reinterpret_cast<const char*>(&header), sizeof header);
  for (const std::string& word : request.argv) packet_.append(word.c_str()).push_back('\0');
  for (const auto& [name, value] : request.env) {
    packet_.append(name.c_str()).append("=").append(value.c_str()).push_back('\0');
  }
  written_[0] = written_[1] = 0;
  log_bytes_ = header.log_bytes;
  if (request.argv.empty()) return ShardExit{.end = ShardEnd::kNotStarted, .code = ENOENT};
  if (packet_.size() > protocol::kMaxPacketBytes) {
    return ShardExit{.end = ShardEnd::kNotStarted, .code = E2BIG};
  }

  RETURN_IF_ERROR(Send(packet_.data(), packet_.size(), request.prepare ? 0 : header.sequence));
  if (request.prepare) RETURN_IF_ERROR(Prepare(request.prepare));
  const absl::StatusOr<protocol::RunReply> reply = Await(header.wall_ms, request.snapshots);
  running_ = 0;
  RETURN_IF_ERROR(reply.status());
  for (int i = 0; i < 2; ++i) written_[i] = reply->written[i];
  return ShardExit{.end = static_cast<ShardEnd>(reply->end),
                   .code = reply->code,
                   .wall_us = reply->wall_us,
                   .cpu_us = reply->cpu_us,
                   .max_rss_bytes = reply->max_rss_bytes};
}

absl::Status BubblewrapSession::Send(const void* packet, size_t size, uint32_t running) {
  // A cancellation must not overtake the request, nor miss that it is sent.
  std::lock_guard lock(cancel_mutex_);
  ssize_t sent = send(control_.get(), packet, size, MSG_NOSIGNAL);
  if (sent != static_cast<ssize_t>(size)) return Broken("its runner ended");
  running_ = running;
  return absl::OkStatus();
}

absl::Status BubblewrapSession::Step(protocol::Kind kind) {
  const protocol::StepRequest step = {kind, sequence_};
  return Send(&step, sizeof step, sequence_);
}

absl::StatusOr<BubblewrapSession::Packet> BubblewrapSession::Receive(int64_t until_ms) {
  Packet packet;
  for (;;) {
    pollfd ready = {control_.get(), POLLIN, 0};
    int64_t left_ms = std::clamp<int64_t>(until_ms - NowMs(), 0, INT32_MAX);
    int n = poll(&ready, 1, static_cast<int>(left_ms));
    if (n < 0 && errno == EINTR) continue;
    if (n == 0 && NowMs() < until_ms) continue;
    if (n == 0) return packet;
    char bytes[std::max(sizeof packet.step, sizeof packet.reply)];
    ssize_t size = recv(control_.get(), bytes, sizeof bytes, MSG_TRUNC);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return Broken("its runner ended");
    if (size == sizeof packet.reply) {
      packet.kind = Packet::kReply;
      memcpy(&packet.reply, bytes, sizeof packet.reply);
      if (packet.reply.sequence == sequence_ &&
          packet.reply.end <= static_cast<uint32_t>(ShardEnd::kCancelled)) {
        return packet;
      }
    } else if (size == sizeof packet.step) {
      packet.kind = Packet::kStep;
      memcpy(&packet.step, bytes, sizeof packet.step);
      if (packet.step.sequence == sequence_) return packet;
    }
    return Broken("its runner sent nonsense");
  }
}

absl::Status BubblewrapSession::Prepare(const std::function<absl::Status(int)>& prepare) {
  ASSIGN_OR_RETURN(const Packet empty, Receive(NowMs() + kReplyMarginMs));
  if (!empty.IsStep(protocol::Kind::kStart)) return Broken("its runner does not answer");
  const absl::Status prepared = prepare(work_.get());
  if (prepared.ok()) return Step(protocol::Kind::kStart);
  protocol::CancelRequest cancel;
  cancel.sequence = sequence_;
  RETURN_IF_ERROR(Send(&cancel, sizeof cancel, 0));
  ASSIGN_OR_RETURN(const Packet ended, Receive(NowMs() + kReplyMarginMs));
  if (ended.kind != Packet::kReply) return Broken("its runner does not answer");
  return prepared;
}

// Waits for the end of the shard.
absl::StatusOr<protocol::RunReply> BubblewrapSession::Await(int64_t wall_ms,
                                                            const Snapshots& snapshots) {
  const int64_t every_ms = snapshots.every_ms > 0 ? snapshots.every_ms : kLongestMs;
  int64_t end_ms = NowMs() + wall_ms + kReplyMarginMs;
  int64_t copy_at_ms = NowMs() + every_ms;
  // What is expected next, beside the end: the answer to a step.
  protocol::Kind asked = protocol::Kind::kRun;
  for (;;) {
    const bool idle = asked == protocol::Kind::kRun;
    ASSIGN_OR_RETURN(const Packet packet, Receive(idle ? std::min(end_ms, copy_at_ms) : end_ms));
    if (packet.kind == Packet::kReply) return packet.reply;
    if (packet.kind == Packet::kNothing) {
      if (!idle || NowMs() >= end_ms) return Broken("its runner does not answer");
      asked = protocol::Kind::kFreeze;
      RETURN_IF_ERROR(Step(asked));
      continue;
    }
    if (!packet.IsStep(asked)) return Broken("its runner sent nonsense");
    const bool done = packet.step.done != 0;
    if (asked == protocol::Kind::kFreeze && done) {
      const int64_t before_ms = NowMs();
      snapshots.copy(work_.get());
      end_ms += NowMs() - before_ms;
      asked = protocol::Kind::kThaw;
      RETURN_IF_ERROR(Step(asked));
      continue;
    }
    if (asked == protocol::Kind::kThaw && done) snapshots.keep();
    asked = protocol::Kind::kRun;
    copy_at_ms = NowMs() + every_ms;
  }
}

std::string BubblewrapSession::Tail(int stream, size_t max_bytes) const {
  uint64_t size = std::min<uint64_t>({written_[stream], log_bytes_, max_bytes});
  std::string text(size, '\0');
  uint64_t first = written_[stream] - size;
  for (uint64_t done = 0; done < size;) {
    uint64_t at = (first + done) % log_bytes_;
    uint64_t piece = std::min(size - done, log_bytes_ - at);
    off_t offset = protocol::kRingOffset + stream * log_bytes_ + at;
    ssize_t n = pread(log_.get(), text.data() + done, piece, offset);
    if (n <= 0) {
      text.resize(done);
      break;
    }
    done += n;
  }
  return text;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Session>> Session::Start(const SandboxOptions& options) {
  if (geteuid() == 0) {
    return absl::FailedPreconditionError(
        "sandboxes are not made as root: bubblewrap would keep root's rights; run as another user");
  }
  if (options.disk_bytes == 0 || options.memory_bytes == 0 || options.processes == 0) {
    return absl::InvalidArgumentError("a sandbox needs limits for disk, memory and processes");
  }
  ASSIGN_OR_RETURN(std::string bubblewrap, sandbox::FindBubblewrap());
  if (access(options.runner_path.c_str(), R_OK | X_OK) != 0) {
    return absl::FailedPreconditionError(
        fmt::format("user {} cannot run {}: {}", geteuid(), options.runner_path, strerror(errno)));
  }

  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return SystemError("socketpair", errno);
  }
  Fd control(ends[0]), theirs(ends[1]);
  Fd log(memfd_create("corpgrid-log", MFD_CLOEXEC));
  Fd complaint(memfd_create("corpgrid-stderr", MFD_CLOEXEC));
  int yes = 1;
  if (!log || !complaint || ftruncate(log.get(), protocol::kRingOffset) != 0 ||
      setsockopt(control.get(), SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes) != 0) {
    return SystemError("cannot prepare a sandbox", errno);
  }
  sandbox::View view = {options.runner_path, options.bundle_dir, options.input_dir,
                        options.network};
  ASSIGN_OR_RETURN(platform::Process process,
                   platform::Process::Start({.argv = sandbox::BubblewrapCommand(
                                                 bubblewrap, view, {sandbox::kProgramPath}),
                                             .fds = {{complaint.get(), 2},
                                                     {theirs.get(), protocol::kControlFd},
                                                     {log.get(), protocol::kLogFd}}}));
  theirs.Reset();

  protocol::Setup setup;
  setup.disk_bytes = options.disk_bytes;
  setup.memory_bytes = options.memory_bytes;
  setup.processes = options.processes;
  send(control.get(), &setup, sizeof setup, MSG_NOSIGNAL);  // a failure shows in what follows
  timeval timeout = {kStartMs / 1000, 0};
  setsockopt(control.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  std::optional<Greeting> greeting = ReceiveHello(control.get());
  Fd runner;
  if (greeting) runner = Fd(static_cast<int>(syscall(SYS_pidfd_open, greeting->runner, 0)));
  if (!runner) {
    process.Wait(1000);  // so that what it has to say is said
    return absl::FailedPreconditionError(
        sandbox::Diagnose("/proc/sys", Complaint(complaint.get())));
  }
  int no = 0;
  setsockopt(control.get(), SOL_SOCKET, SO_PASSCRED, &no, sizeof no);
  return std::make_unique<BubblewrapSession>(std::move(process), std::move(control), std::move(log),
                                             std::move(complaint), std::move(greeting->work),
                                             std::move(runner));
}

}  // namespace corpgrid::runner
