#include "agent/slot.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "agent/files.h"
#include "agent/outputs.h"
#include "agent/shard_request.h"
#include "agent/state.h"
#include "agent/transient.h"
#include "base/backoff.h"
#include "base/status_macros.h"
#include "base/text.h"

namespace corpgrid::agent {
namespace {

// A sandbox that had nothing to do for kIdleMs is closed, one that was killed within kLookMs.
constexpr int64_t kIdleMs = 10'000, kLookMs = 500;
// A sandbox that breaks (its runner was killed) is replaced this often before the device gives up.
constexpr int kSandboxTries = 3;
// For the upload of the last state of a shard that is given back.
constexpr int64_t kFlushMs = 60'000;
constexpr int64_t kStoppingFlushMs = 3000;

// What people should know beyond the outcome.
std::string Describe(const runner::ShardExit& exit, const job::JobSpec& spec) {
  switch (exit.end) {
    case runner::ShardEnd::kWallLimit:
      return fmt::format("ran longer than limits.wall, {}", FormatDuration(spec->limits.wall_ms));
    case runner::ShardEnd::kMemoryLimit:
      return fmt::format("used more than resources.memory, {}",
                         FormatBytes(spec->resources.memory_bytes));
    case runner::ShardEnd::kDiskLimit:
      return fmt::format("its files grew beyond limits.disk, {}",
                         FormatBytes(spec->limits.disk_bytes));
    case runner::ShardEnd::kNotStarted:
      return fmt::format("cannot execute \"{}\": {}", spec->command[0], std::strerror(exit.code));
    default:
      return "";
  }
}

// The limits are not the command's exit codes: they carry none, so that replicas agree.
job::Result ToResult(const runner::ShardExit& exit) {
  switch (exit.end) {
    case runner::ShardEnd::kExited:
      return {job::Outcome::kExited, exit.code, {}};
    case runner::ShardEnd::kSignaled:
      return {job::Outcome::kSignaled, exit.code, {}};
    case runner::ShardEnd::kWallLimit:
      return {job::Outcome::kWallLimit, 0, {}};
    case runner::ShardEnd::kMemoryLimit:
      return {job::Outcome::kMemoryLimit, 0, {}};
    case runner::ShardEnd::kDiskLimit:
      return {job::Outcome::kOutputLimit, 0, {}};
    case runner::ShardEnd::kNotStarted:
      return {job::Outcome::kNotStarted, exit.code, {}};
    case runner::ShardEnd::kCancelled:
      break;
  }
  return {};
}

}  // namespace

Slot::Slot(const SlotContext* context, uint32_t index)
    : context_(context),
      index_(index),
      folder_(fmt::format("{}/slots/{}", context->data_folder, index)) {}

void Slot::Run() {
  int64_t idle_ms = 0;
  while (!context_->stop->stopped()) {
    const JobId warm = session_job_ == nullptr ? JobId{} : session_job_->id;
    const std::optional<Attempt> attempt =
        context_->leases->Take(warm, session_ == nullptr ? kIdleMs : kLookMs);
    idle_ms = attempt.has_value() ? 0 : idle_ms + kLookMs;
    if (attempt.has_value()) Attend(*attempt);
    if (session_ != nullptr && (idle_ms >= kIdleMs || !session_->Alive())) CloseSession();
  }
  CloseSession();
}

void Slot::Attend(const Attempt& attempt) {
  {
    absl::MutexLock lock(&mutex_);
    current_ = attempt.id;
    cancelled_at_ms_.reset();
    give_back_.reset();
    give_back_grace_ms_ = kGraceMs;
  }
  const int64_t start_ms = context_->clock->MonotonicMs();
  absl::StatusOr<FinishedAttempt> finished = Execute(attempt);
  bool cancelled = false;
  std::optional<std::string> give_back;
  {
    absl::MutexLock lock(&mutex_);
    current_ = AttemptId{};
    give_back = give_back_;
    cancelled = cancelled_at_ms_.has_value() && !give_back;
  }
  if (cancelled) {
    context_->journal->Forget(attempt.id);
    return context_->leases->Forget(attempt.id);
  }
  if (!give_back && context_->stop->stopped()) give_back = kStopping;
  if (give_back && !finished.ok()) {
    spdlog::info("shard {} of job {} given back: {}", attempt.shard.index, attempt.shard.job.value,
                 *give_back);
    context_->leases->GivenBack(attempt.id);
    return context_->hand_in(GivenBack(attempt, *give_back));
  }
  int64_t run_us = 1000 * (context_->clock->MonotonicMs() - start_ms);
  if (finished.ok()) {
    // Short shards need a finer measure than the clock's, and what they cost us does not matter.
    if (run_us < 100'000) run_us = finished->wall_us;
    uint64_t output_bytes = 0;
    for (const job::Output& output : finished->result.outputs) output_bytes += output.size_bytes;
    context_->leases->Finished(attempt.id, run_us, output_bytes);
    context_->hand_in(*std::move(finished));
    return;
  }
  FinishedAttempt fault{.attempt = attempt, .detail = std::string(finished.status().message())};
  spdlog::warn("shard {} of job {} given up: {}", attempt.shard.index, attempt.shard.job.value,
               fault.detail);
  context_->leases->Finished(attempt.id, run_us);
  context_->hand_in(std::move(fault));  // the scheduler paces what comes next, job by job
}

absl::StatusOr<FinishedAttempt> Slot::Execute(const Attempt& attempt) {
  Backoff backoff(attempt.id.value);
  while (true) {
    absl::StatusOr<FinishedAttempt> finished = TryOnce(attempt);
    if (finished.ok() || !IsTransient(finished.status()) || Cancelled()) return finished;
    if (context_->stop->WaitFor(backoff.NextMs())) return finished;
  }
}

absl::StatusOr<FinishedAttempt> Slot::TryOnce(const Attempt& attempt) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const VerifiedJob> job,
                   context_->jobs->Get(attempt, [this] { return Cancelled(); }));
  const job::JobSpec& spec = job->spec;
  const uint32_t shard = attempt.shard.index;
  if (shard >= spec->shards) {
    return absl::InvalidArgumentError(
        fmt::format("there is no shard {}: what was signed has {}", shard, spec->shards));
  }
  if (!job->unusable.empty()) {
    return FinishedAttempt{.attempt = attempt,
                           .result = {job::Outcome::kNotStarted, EBADMSG, {}},
                           .detail = job->unusable};
  }
  if (!spec->inputs.empty()) RETURN_IF_ERROR(FetchInput(attempt, spec->inputs[shard]));
  // The turn comes last: who had one while it waited for its share would begin long after it,
  // beside others. To hold a share meanwhile costs nobody: others would have later turns.
  const Capacity::Share share = context_->capacity->Take(
      {spec->resources.cpus, spec->resources.memory_bytes}, [this] { return Cancelled(); });
  if (!share) return absl::CancelledError("the attempt was cancelled");
  const uint64_t memory = spec->resources.memory_bytes;
  const resources::ResourceManager::Request asked = {
      resources::ResourceManager::Kind::kJob, fmt::format("attempt-{}", attempt.id.value), memory,
      context_->capacity->FreeMemory() + memory};
  RETURN_IF_ERROR(context_->resources->Await(asked, [this] { return Cancelled(); }));
  runner::ShardRequest request = MakeShardRequest(spec, shard);
  SaveStates(attempt, spec, &request);
  ASSIGN_OR_RETURN(const UniqueFd state, FetchState(attempt, spec));
  const Begun::Note note(context_->begun, context_->grid_id, index_, attempt);
  absl::StatusOr<runner::ShardExit> exit = absl::UnknownError("");
  if (state.ok()) {
    runner::ShardRequest later = request;
    GoOnFrom(state.get(), spec, &later);
    exit = RunShard(job, later);
  }
  if (!state.ok() || absl::IsInvalidArgument(exit.status())) exit = RunShard(job, request);
  if (exit.ok() && exit->end == runner::ShardEnd::kCancelled) SaveLastState(attempt, spec);
  context_->checkpoints->Forget(attempt.id);
  if (absl::IsCancelled(exit.status())) return exit.status();
  if (!exit.ok()) {
    return absl::InternalError(fmt::format("no sandbox: {}", std::string(exit.status().message())));
  }
  if (exit->end == runner::ShardEnd::kCancelled) return absl::CancelledError("it was given back");
  if (exit->end == runner::ShardEnd::kMemoryLimit) context_->resources->NoteRefusal(asked);
  return Finish(attempt, spec, *exit);
}

absl::Status Slot::FetchInput(const Attempt& attempt, const job::Input& input) const {
  std::error_code error;
  std::filesystem::create_directories(InputFolder(), error);
  for (const auto& old : std::filesystem::directory_iterator(InputFolder(), error)) {
    std::filesystem::remove_all(old.path(), error);
  }
  const std::string path = InputFolder() + "/" + input.name;
  const UniqueFd file(
      open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!file.ok()) return DeviceError(path, "make");
  return context_->scheduler->Fetch(attempt, input.hash, input.size_bytes,
                                    [&](std::string_view data) {
                                      if (Cancelled())
                                        return absl::CancelledError("the attempt was cancelled");
                                      return WriteAll(file.get(), data);
                                    });
}

absl::StatusOr<UniqueFd> Slot::FetchState(const Attempt& attempt, const job::JobSpec& spec) const {
  if (!spec->checkpoint || attempt.state_hash.empty()) return UniqueFd();
  ASSIGN_OR_RETURN(const crypto::Hash hash, crypto::Hash::FromRaw(attempt.state_hash));
  ASSIGN_OR_RETURN(UniqueFd file, TemporaryFile(context_->data_folder + "/spool"));
  const absl::Status fetched = context_->scheduler->Fetch(
      attempt, hash, spec->limits.disk_bytes, [&](std::string_view data) {
        if (Cancelled()) return absl::CancelledError("the attempt was cancelled");
        return WriteAll(file.get(), data);
      });
  if (fetched.ok()) return file;
  if (IsTransient(fetched) || absl::IsCancelled(fetched)) return fetched;
  spdlog::warn("shard {} of job {} begins at its beginning, its state is not to be had: {}",
               attempt.shard.index, attempt.shard.job.value, std::string(fetched.message()));
  return UniqueFd();
}

void Slot::GoOnFrom(int file, const job::JobSpec& spec, runner::ShardRequest* request) {
  request->env.emplace("CORPGRID_RESUME", "1");
  request->prepare = [file, &spec](int work_fd) {
    const absl::Status unpacked =
        UnpackState(file, work_fd, spec->checkpoint->folder, spec->limits.disk_bytes);
    if (unpacked.ok()) return unpacked;
    spdlog::warn("job \"{}\": a saved state cannot be unpacked, the shard begins anew: {}",
                 spec->name, std::string(unpacked.message()));
    return absl::InvalidArgumentError(unpacked.message());
  };
}

void Slot::SaveStates(const Attempt& attempt, const job::JobSpec& spec,
                      runner::ShardRequest* request) {
  state_problem_.clear();
  if (!spec->checkpoint) return;
  {
    absl::MutexLock lock(&mutex_);
    give_back_grace_ms_ = kStateGraceMs;
  }
  request->snapshots = {.every_ms = spec->checkpoint->every_ms,
                        .copy = [this, &spec](int work_fd) { PackNow(spec, work_fd); },
                        .keep =
                            [this, &attempt] {
                              if (packed_)
                                context_->checkpoints->Offer(attempt, *std::move(packed_));
                              packed_.reset();
                            }};
}

// Of a shard that was ended: no process runs any more.
void Slot::SaveLastState(const Attempt& attempt, const job::JobSpec& spec) {
  if (!spec->checkpoint) return;
  PackNow(spec, session_->work_fd());
  if (packed_) context_->checkpoints->Offer(attempt, *std::move(packed_));
  packed_.reset();
  context_->checkpoints->Flush(attempt.id, context_->stop->stopped() ? kStoppingFlushMs : kFlushMs);
}

void Slot::PackNow(const job::JobSpec& spec, int work_fd) {
  packed_.reset();
  auto packed = PackState(work_fd, spec->checkpoint->folder, spec->limits.disk_bytes,
                          context_->data_folder + "/spool");
  if (packed.ok()) {
    packed_ = *std::move(packed);
    state_problem_.clear();
  } else {
    state_problem_ =
        fmt::format("its state was not saved: {}", std::string(packed.status().message()));
    spdlog::warn("job \"{}\": {}", spec->name, state_problem_);
  }
}

absl::Status Slot::EnsureSession(std::shared_ptr<const VerifiedJob> job) {
  if (session_ != nullptr && session_job_ == job) return absl::OkStatus();
  CloseSession();
  runner::SandboxOptions options = MakeSandboxOptions(job->spec);
  options.runner_path = context_->runner_path;
  if (job->bundle != nullptr) options.bundle_dir = job->bundle->folder;
  if (!job->spec->inputs.empty()) options.input_dir = InputFolder();
  ASSIGN_OR_RETURN(session_, context_->start_session(options));
  session_job_ = std::move(job);
  return absl::OkStatus();
}

void Slot::CloseSession() {
  session_.reset();
  session_job_.reset();
}

absl::StatusOr<runner::ShardExit> Slot::RunShard(const std::shared_ptr<const VerifiedJob>& job,
                                                 const runner::ShardRequest& request) {
  for (int tries = 1;; ++tries) {
    RETURN_IF_ERROR(EnsureSession(job));
    {
      absl::MutexLock lock(&mutex_);
      if (cancelled_at_ms_.has_value()) return absl::CancelledError("the attempt was cancelled");
      running_ = session_.get();
    }
    const absl::StatusOr<runner::ShardExit> exit = session_->Run(request);
    {
      absl::MutexLock lock(&mutex_);
      running_ = nullptr;
      // What is given back has a state; or it ended by itself just before, and has a result.
      if (give_back_ && exit.ok()) return exit;
      if (cancelled_at_ms_.has_value()) return absl::CancelledError("the attempt was cancelled");
    }
    if (exit.ok() && exit->end == runner::ShardEnd::kCancelled) {
      return absl::InternalError("the shard ended as cancelled, but nobody did that");
    }
    if (exit.ok() || absl::IsInvalidArgument(exit.status())) return exit;
    CloseSession();
    if (tries == kSandboxTries) return exit;
    spdlog::warn("the sandbox of job \"{}\" broke, starting another: {}", job->spec->name,
                 std::string(exit.status().message()));
  }
}

absl::StatusOr<FinishedAttempt> Slot::Finish(const Attempt& attempt, const job::JobSpec& spec,
                                             const runner::ShardExit& exit) const {
  FinishedAttempt finished{.attempt = attempt,
                           .result = ToResult(exit),
                           .detail = Describe(exit, spec),
                           .stdout_tail = session_->Stdout(kLogTailBytes),
                           .stderr_tail = session_->Stderr(kLogTailBytes),
                           .wall_us = exit.wall_us,
                           .cpu_us = exit.cpu_us,
                           .max_rss_bytes = exit.max_rss_bytes};
  if (finished.detail.empty()) finished.detail = state_problem_;
  if (!finished.result.succeeded() || spec->outputs.empty()) return finished;
  std::vector<std::string> names;
  for (const std::string& output : spec->outputs) {
    names.push_back(job::Expand(output, *spec, attempt.shard.index));
  }
  ASSIGN_OR_RETURN(Collection collection,
                   CollectOutputs(session_->work_fd(), names, spec->limits.output_bytes,
                                  context_->journal->OutputPath(attempt.id)));
  finished.result.outcome = collection.outcome;
  if (!collection.detail.empty()) finished.detail = std::move(collection.detail);
  finished.outputs = std::move(collection.outputs);
  for (const CollectedOutput& output : finished.outputs) {
    finished.result.outputs.push_back(output.output);
  }
  return finished;
}

bool Slot::Cancelled() const {
  absl::MutexLock lock(&mutex_);
  return cancelled_at_ms_.has_value() || context_->stop->stopped();
}

void Slot::CancelLocked() {
  const int64_t now_ms = context_->clock->MonotonicMs();
  if (!cancelled_at_ms_.has_value()) cancelled_at_ms_ = now_ms;
  // The first call can come before the shard has started; whoever wants it gone asks again.
  const int64_t grace_ms = give_back_ ? give_back_grace_ms_ : kGraceMs;
  const int64_t left_ms = *cancelled_at_ms_ + grace_ms - now_ms;
  if (running_ != nullptr) running_->Cancel(std::max<int64_t>(left_ms, 0));
}

bool Slot::Cancel(AttemptId id) {
  absl::MutexLock lock(&mutex_);
  if (current_ != id) return false;
  give_back_.reset();
  CancelLocked();
  return true;
}

void Slot::GiveBackLocked(const std::string& why) {
  if (!cancelled_at_ms_.has_value()) give_back_ = why;
  CancelLocked();
}

bool Slot::GiveBack(AttemptId id, const std::string& why) {
  absl::MutexLock lock(&mutex_);
  if (current_ != id) return false;
  GiveBackLocked(why);
  return true;
}

void Slot::GiveBackCurrent(const std::string& why) {
  absl::MutexLock lock(&mutex_);
  if (current_) GiveBackLocked(why);
}

std::optional<RunningAttempt> Slot::Running() const {
  absl::MutexLock lock(&mutex_);
  if (!current_) return std::nullopt;
  return RunningAttempt{current_, running_ == nullptr ? -1 : running_->Progress()};
}

}  // namespace corpgrid::agent
