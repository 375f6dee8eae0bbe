#include "agent/submitter.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <map>
#include <unordered_map>
#include <utility>

#include "absl/time/clock.h"
#include "agent/transient.h"
#include "audit/batch_signature.h"
#include "base/backoff.h"
#include "base/status_macros.h"

namespace corpgrid::agent {
namespace {

static_assert(Submitter::kMaxBatch <= audit::kMaxBatch);

// What the device signs.
std::string StatementOf(const FinishedAttempt& finished, const Registration& registration) {
  const Attempt& attempt = finished.attempt;
  const absl::StatusOr<crypto::Hash> bundle = crypto::Hash::FromRaw(attempt.job->bundle_hash());
  const absl::StatusOr<crypto::Hash> spec = crypto::Hash::FromRaw(attempt.job->spec_hash());
  return job::ResultStatement{
      .grid_id = registration.grid_id,
      .device = registration.device,
      .shard = attempt.shard,
      .attempt = attempt.id,
      .lease_token = attempt.lease_token,
      .bundle = bundle.ok() ? *bundle : crypto::Hash{},
      .spec = spec.ok() ? *spec : crypto::Hash{},
      .result_key = finished.result.Key(),
  }
      .Encode();
}

// Without its signature.
corpgrid::v1::Result ToMessage(const FinishedAttempt& finished) {
  corpgrid::v1::Result result;
  result.set_attempt_id(finished.attempt.id.value);
  result.set_lease_token(finished.attempt.lease_token);
  result.set_outcome(static_cast<uint32_t>(finished.result.outcome));
  result.set_exit_code(finished.result.exit_code);
  for (const job::Output& output : finished.result.outputs) {
    corpgrid::v1::OutputRef* ref = result.add_outputs();
    ref->set_name(output.name);
    ref->set_hash(std::string(output.hash.Raw()));
    ref->set_size_bytes(output.size_bytes);
  }
  result.set_detail(finished.detail);
  result.set_stdout_tail(finished.stdout_tail);
  result.set_stderr_tail(finished.stderr_tail);
  result.set_wall_ms(finished.wall_us / 1000);
  result.set_cpu_ms(finished.cpu_us / 1000);
  result.set_max_rss_bytes(finished.max_rss_bytes);
  return result;
}

}  // namespace

Submitter::Submitter(SchedulerClient* scheduler, const crypto::KeyPair* key, LeaseQueue* leases,
                     const Journal* journal, StopSignal* abort)
    : scheduler_(scheduler), key_(key), leases_(leases), journal_(journal), abort_(abort) {
  threads_.emplace_back([this] { RunStaging(&large_); });
  threads_.emplace_back([this] { RunStaging(&small_); });
  threads_.emplace_back([this] { RunSubmitting(); });
}

Submitter::~Submitter() {
  abort_->Stop();
  for (BatchQueue* lane : {&large_, &small_, &results_}) lane->Close();
  for (std::thread& thread : threads_) thread.join();
}

void Submitter::Add(FinishedAttempt finished) {
  const auto in_memory = [](const CollectedOutput& output) { return output.in_memory(); };
  BatchQueue& lane = finished.outputs.empty() ? results_
                     : std::all_of(finished.outputs.begin(), finished.outputs.end(), in_memory)
                         ? small_
                         : large_;
  {
    absl::MutexLock lock(&mutex_);
    ++pending_;
  }
  lane.Push(std::make_unique<FinishedAttempt>(std::move(finished)));
}

void Submitter::End(AttemptId id) {
  journal_->Forget(id);
  leases_->Forget(id);
  absl::MutexLock lock(&mutex_);
  if (--pending_ == 0) drained_.SignalAll();
}

void Submitter::Drop(AttemptId id) {
  for (BatchQueue* lane : {&large_, &small_, &results_}) {
    if (lane->Drop(id)) End(id);
  }
}

bool Submitter::Drain(int64_t ms) {
  const absl::Time deadline = absl::Now() + absl::Milliseconds(ms);
  absl::MutexLock lock(&mutex_);
  while (pending_ > 0) {
    if (drained_.WaitWithDeadline(&mutex_, deadline)) break;
  }
  return pending_ == 0;
}

void Submitter::RunLane(std::string_view what, BatchQueue* lane, const Send& send,
                        const Refuse& refuse) {
  Backoff backoff(reinterpret_cast<uintptr_t>(lane));
  size_t one_by_one = 0;  // of a batch that was refused, to find out which of it
  bool failing = false;
  while (true) {
    Batch batch = lane->Take(one_by_one > 0 ? 1 : kMaxBatch, kMaxBatchBytes);
    if (batch.empty()) return;
    if (one_by_one > 0) --one_by_one;
    const bool full = batch.size() >= kMaxBatch;
    const absl::Time start = absl::Now();
    const absl::Status status = send(&batch);
    if (status.ok()) {
      if (std::exchange(failing, false)) spdlog::info("{}: works again", what);
      backoff.Reset();
      const absl::Duration rest = absl::Milliseconds(kPaceMs) - (absl::Now() - start);
      if (!full && rest > absl::ZeroDuration()) abort_->WaitFor(absl::ToInt64Milliseconds(rest));
    } else if (IsTransient(status) || absl::IsResourceExhausted(status)) {
      if (!std::exchange(failing, true)) {
        spdlog::warn("{}: {}; trying again", what, std::string(status.message()));
      }
      lane->PutBack(std::move(batch));
      abort_->WaitFor(backoff.NextMs());
    } else if (batch.size() > 1) {
      one_by_one = batch.size();
      lane->PutBack(std::move(batch));
    } else {
      refuse(std::move(batch.front()), status);
    }
  }
}

void Submitter::RunStaging(BatchQueue* lane) {
  RunLane(
      "uploading outputs", lane, [this](Batch* batch) { return Stage(batch); },
      [this](std::unique_ptr<FinishedAttempt> finished, const absl::Status& status) {
        finished->detail =
            fmt::format("the outputs were refused: {}", std::string(status.message()));
        finished->result = job::Result{};
        finished->outputs.clear();
        results_.Push(std::move(finished));
      });
}

absl::Status Submitter::Stage(Batch* batch) {
  std::vector<rpc::ObjectsClient::Upload> uploads;
  for (const auto& finished : *batch) {
    for (const CollectedOutput& from : finished->outputs) {
      std::string name = from.output.name;
      uploads.push_back(
          from.in_memory()
              ? rpc::UploadBytes(finished->attempt.Grant(), std::move(name), from.data)
              : rpc::UploadFd(finished->attempt.Grant(), std::move(name), from.file.get()));
    }
  }
  ASSIGN_OR_RETURN(const std::vector<corpgrid::v1::StagedObject> staged, scheduler_->Put(uploads));
  if (staged.size() != uploads.size()) {
    return absl::InternalError(
        fmt::format("{} outputs were sent, {} arrived", uploads.size(), staged.size()));
  }
  size_t next = 0;
  for (const auto& finished : *batch) {
    for (const CollectedOutput& from : finished->outputs) {
      if (staged[next++].hash() == from.output.hash.Raw()) continue;
      return absl::DataLossError(
          fmt::format("output \"{}\" arrived with another hash", from.output.name));
    }
  }
  for (auto& finished : *batch) {
    finished->outputs.clear();
    results_.Push(std::move(finished));
  }
  return absl::OkStatus();
}

void Submitter::RunSubmitting() {
  RunLane(
      "handing in results", &results_, [this](Batch* batch) { return Submit(batch); },
      [this](std::unique_ptr<FinishedAttempt> finished, const absl::Status& status) {
        spdlog::warn("attempt {} given up, its result was refused: {}", finished->attempt.id.value,
                     std::string(status.message()));
        End(finished->attempt.id);
      });
}

corpgrid::v1::SubmitResultRequest Submitter::Sign(const Batch& batch,
                                                  const Registration& registration) const {
  corpgrid::v1::SubmitResultRequest request;
  const bool together = registration.batch_signatures && batch.size() > 1;
  std::vector<audit::TreeHash> leaves;
  for (const auto& finished : batch) {
    corpgrid::v1::Result* result = request.add_results();
    *result = ToMessage(*finished);
    const std::string statement = StatementOf(*finished, registration);
    if (together) {
      leaves.push_back(audit::LeafHash(statement));
      result->set_signature(std::string(leaves.back().Raw()));
    } else {
      result->set_signature(key_->Sign(statement));
    }
  }
  if (together) request.set_signature(audit::SignBatch(*key_, leaves));
  return request;
}

absl::Status Submitter::Submit(Batch* batch) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const Registration> registration,
                   scheduler_->CurrentRegistration());
  std::unordered_map<uint64_t, std::unique_ptr<FinishedAttempt>*> by_id;
  for (auto& finished : *batch) by_id[finished->attempt.id.value] = &finished;
  ASSIGN_OR_RETURN(const corpgrid::v1::SubmitResultResponse reply,
                   scheduler_->Submit(Sign(*batch, *registration)));
  std::map<std::string, size_t> refusals;
  for (const auto& verdict : reply.verdicts()) {
    const auto it = by_id.find(verdict.attempt_id());
    if (it == by_id.end()) continue;
    if (!verdict.accepted()) ++refusals[verdict.reason()];
    it->second->reset();
    by_id.erase(it);
    End(AttemptId{verdict.attempt_id()});
  }
  for (const auto& [reason, count] : refusals) {
    spdlog::info("{} of {} results not accepted: {}", count, batch->size(), reason);
  }
  if (by_id.empty()) return absl::OkStatus();
  return absl::UnavailableError(fmt::format("{} results got no verdict", by_id.size()));
}

}  // namespace corpgrid::agent
