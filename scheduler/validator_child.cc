#include "scheduler/validator_child.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <utility>

#include "base/file.h"
#include "base/status_macros.h"
#include "fmt/format.h"
#include "job/spec.h"
#include "objects/bundle.h"
#include "runner/place.h"
#include "runner/session.h"
#include "sandbox/unprivileged.h"
#include "scheduler/frames.h"

namespace corpgrid::scheduler {
namespace {

namespace fs = std::filesystem;

constexpr size_t kReasonBytes = 500;
constexpr const char* kSides[] = {"a", "b"};

// Serves one job.
class Child {
 public:
  Child(std::string folder, std::string runner)
      : folder_(std::move(folder)), runner_(std::move(runner)) {}

  absl::Status Serve() {
    ASSIGN_OR_RETURN(const std::string spec_bytes, ReadFrame(kValidatorFd));
    ASSIGN_OR_RETURN(const job::JobSpec spec, job::JobSpec::Decode(spec_bytes));
    RETURN_IF_ERROR(Unpack());
    ASSIGN_OR_RETURN(const auto session,
                     runner::Session::Start({.runner_path = runner_,
                                             .bundle_dir = bundle_dir(),
                                             .input_dir = outputs_dir(),
                                             .disk_bytes = spec->limits.disk_bytes,
                                             .memory_bytes = spec->resources.memory_bytes,
                                             .processes = spec->limits.processes}));
    while (true) {
      RETURN_IF_ERROR(Receive(spec->outputs.size()));
      ASSIGN_OR_RETURN(const std::string difference, Compare(*session, spec));
      RETURN_IF_ERROR(WriteFrame(kValidatorFd, difference));
    }
  }

  absl::Status MakeFolders() const {
    std::error_code error;
    fs::remove_all(bundle_dir(), error);
    fs::remove_all(outputs_dir(), error);
    for (const std::string& path : {bundle_dir(), outputs_dir()}) {
      fs::create_directories(path, error);
      if (error) {
        return absl::FailedPreconditionError(
            fmt::format("cannot make the folder {}: {}", path, error.message()));
      }
    }
    return absl::OkStatus();
  }

 private:
  std::string bundle_dir() const { return folder_ + "/bundle"; }
  std::string outputs_dir() const { return folder_ + "/outputs"; }

  absl::Status Unpack() const {
    ASSIGN_OR_RETURN(std::string first, ReadFrame(kValidatorFd));
    if (first.empty()) return absl::OkStatus();  // A job without a bundle.
    const auto next = [&]() -> absl::StatusOr<std::string> {
      if (first.empty()) return ReadFrame(kValidatorFd);
      return std::exchange(first, "");
    };
    return objects::UnpackBundle(next, bundle_dir(), {});
  }

  // The outputs of both results, to the folders a and b.
  absl::Status Receive(size_t outputs) const {
    for (const char* side : kSides) {
      const fs::path root = fs::path(outputs_dir()) / side;
      std::error_code error;
      fs::remove_all(root, error);
      for (size_t i = 0; i < outputs; ++i) {
        // Relative and without "..": the scheduler compared it with the spec.
        ASSIGN_OR_RETURN(const std::string name, ReadFrame(kValidatorFd));
        fs::create_directories((root / name).parent_path(), error);
        RETURN_IF_ERROR(ReceiveFile((root / name).string()));
      }
    }
    return absl::OkStatus();
  }

  static absl::Status ReceiveFile(const std::string& path) {
    const UniqueFd file(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    if (!file.ok()) return FileError(path, "write", errno);
    while (true) {
      ASSIGN_OR_RETURN(const std::string part, ReadFrame(kValidatorFd));
      if (part.empty()) return absl::OkStatus();
      RETURN_IF_ERROR(WriteAll(file.get(), part, path));
    }
  }

  static absl::StatusOr<std::string> Compare(runner::Session& session, const job::JobSpec& spec) {
    runner::ShardRequest request;
    request.argv = spec->redundancy.compare;
    for (const char* side : kSides) request.argv.push_back(fmt::format("/input/{}", side));
    request.env = runner::UsualEnvironment();
    request.wall_ms = std::min(spec->limits.wall_ms, kMaxCompareMs);
    ASSIGN_OR_RETURN(const runner::ShardExit exit, session.Run(request));
    if (exit.end == runner::ShardEnd::kExited && exit.code == 0) return "";
    if (exit.end == runner::ShardEnd::kNotStarted || exit.end == runner::ShardEnd::kCancelled) {
      return fmt::format("{}the validator {}", kCannotTell, Describe(exit));
    }
    const std::string said = session.Stderr(kReasonBytes);
    return fmt::format("the eyes of their validator ({}){}{}", Describe(exit),
                       said.empty() ? "" : ": ", said);
  }

  static std::string Describe(const runner::ShardExit& exit) {
    switch (exit.end) {
      case runner::ShardEnd::kExited:
        return fmt::format("exit status {}", exit.code);
      case runner::ShardEnd::kSignaled:
        return fmt::format("ended by signal {}", exit.code);
      case runner::ShardEnd::kWallLimit:
        return "ran out of time";
      case runner::ShardEnd::kMemoryLimit:
        return "used too much memory";
      case runner::ShardEnd::kDiskLimit:
        return "wrote too much";
      case runner::ShardEnd::kNotStarted:
        return "could not be started";
      case runner::ShardEnd::kCancelled:
        return "was cancelled";
    }
    return "ended";
  }

  const std::string folder_;
  const std::string runner_;
};

absl::StatusOr<Child> MakeChild(const std::string& folder, const std::string& runner) {
  ASSIGN_OR_RETURN(std::string placed, runner::PlaceRunner(runner, folder));
  RETURN_IF_ERROR(sandbox::BecomeUnprivileged(folder).status());
  RETURN_IF_ERROR(sandbox::CheckSandbox());
  Child child(folder, std::move(placed));
  RETURN_IF_ERROR(child.MakeFolders());
  return child;
}

}  // namespace

absl::Status ServeValidator(const std::string& folder, const std::string& runner) {
  absl::StatusOr<Child> child = MakeChild(folder, runner);
  RETURN_IF_ERROR(
      WriteFrame(kValidatorFd, child.ok() ? "" : std::string(child.status().message())));
  RETURN_IF_ERROR(child.status());
  const absl::Status ended = child->Serve();
  if (absl::IsUnavailable(ended)) return absl::OkStatus();
  return WriteFrame(kValidatorFd, fmt::format("{}{}", kCannotTell, std::string(ended.message())));
}

}  // namespace corpgrid::scheduler
