#include "scheduler/validator.h"

#include <signal.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "base/status_macros.h"
#include "scheduler/frames.h"
#include "scheduler/validator_child.h"

namespace corpgrid::scheduler {

absl::Status Validator::Check() {
  if (argv_.empty()) {
    return absl::FailedPreconditionError("this scheduler was started without validator programs");
  }
  absl::MutexLock lock(&check_mutex_);
  if (checked_) return absl::OkStatus();
  std::vector<std::string> argv = argv_;
  argv.back() += ".check";  // The folder of the one that compares stays as it is.
  ASSIGN_OR_RETURN(const std::unique_ptr<Child> child, Launch(argv));
  ASSIGN_OR_RETURN(const std::string complaint, ReadFrame(child->socket.get()));
  if (!complaint.empty()) return absl::FailedPreconditionError(complaint);
  checked_ = true;
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Validator::Child>> Validator::Launch(
    const std::vector<std::string>& argv) const {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return platform::SystemError("socketpair", errno);
  }
  platform::Fd ours(ends[0]);
  const platform::Fd theirs(ends[1]);
  ASSIGN_OR_RETURN(
      platform::Process process,
      platform::Process::Start(
          {.argv = argv, .fds = {{theirs.get(), kValidatorFd}, {2, 2}}, .die_with_thread = true}));
  return std::make_unique<Child>(Child{std::move(process), std::move(ours), JobId()});
}

absl::Status Validator::Send(int socket, const crypto::Hash& object) const {
  ASSIGN_OR_RETURN(const auto reader, objects_->Open(object, 0));
  while (true) {
    ASSIGN_OR_RETURN(const std::string part, reader->Next());
    RETURN_IF_ERROR(WriteFrame(socket, part));
    if (part.empty()) return absl::OkStatus();
  }
}

absl::Status Validator::Prepare(const JobInfo& job) {
  if (child_ && child_->job == job.row.id) return absl::OkStatus();
  {
    absl::MutexLock lock(&mutex_);
    child_.reset();
    if (cancelled_) return absl::UnavailableError("cancelled");
    ASSIGN_OR_RETURN(child_, Launch(argv_));
  }
  const int socket = child_->socket.get();
  ASSIGN_OR_RETURN(const std::string complaint, ReadFrame(socket));
  if (!complaint.empty()) return absl::UnavailableError(complaint);
  RETURN_IF_ERROR(WriteFrame(socket, job.spec.Encode()));
  if (job.row.bundle_bytes > 0) {
    RETURN_IF_ERROR(Send(socket, job.row.bundle_hash));
  } else {
    RETURN_IF_ERROR(WriteFrame(socket, ""));
  }
  child_->job = job.row.id;
  return absl::OkStatus();
}

absl::StatusOr<std::string> Validator::Difference(const JobInfo& job,
                                                  const std::vector<job::Output>& a,
                                                  const std::vector<job::Output>& b) {
  const auto ask = [&]() -> absl::StatusOr<std::string> {
    RETURN_IF_ERROR(Prepare(job));
    for (const auto* side : {&a, &b}) {
      for (const job::Output& output : *side) {
        RETURN_IF_ERROR(WriteFrame(child_->socket.get(), output.name));
        RETURN_IF_ERROR(Send(child_->socket.get(), output.hash));
      }
    }
    return ReadFrame(child_->socket.get());
  };
  absl::StatusOr<std::string> answer = ask();
  if (!answer.ok() && child_) {
    // The last thing that it said may be why it ended, or what it says when it hears no more.
    shutdown(child_->socket.get(), SHUT_WR);
    if (auto last = ReadFrame(child_->socket.get()); last.ok() && last->starts_with(kCannotTell)) {
      answer = std::move(last);
    }
  }
  if (answer.ok() && answer->starts_with(kCannotTell)) {
    const std::string why = answer->substr(kCannotTell.size());
    answer = absl::UnavailableError(why);
  }
  if (!answer.ok()) {
    // It may have got half of something.
    absl::MutexLock lock(&mutex_);
    child_.reset();
  }
  return answer;
}

void Validator::Interrupt() {
  absl::MutexLock lock(&mutex_);
  if (child_) child_->process.Signal(SIGKILL);
}

void Validator::Cancel() {
  {
    absl::MutexLock lock(&mutex_);
    cancelled_ = true;
  }
  Interrupt();
}

}  // namespace corpgrid::scheduler
