#include "agent/daemon.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <system_error>
#include <thread>

#include "agent/begun.h"
#include "agent/checkpoints.h"
#include "agent/executor.h"
#include "agent/heartbeat.h"
#include "agent/journal.h"
#include "agent/log_watch.h"
#include "agent/relay.h"
#include "agent/submitter.h"
#include "agent/transient.h"
#include "base/backoff.h"
#include "base/status_macros.h"

namespace corpgrid::agent {
namespace {

constexpr uint32_t kIdleWaitMs = 20'000;
// While short shards run, a poll asks for many ahead; it must not be waiting still when long ones
// come, which other devices should share.
constexpr uint32_t kBusyWaitMs = 1000;
// For results that are finished when the agent is told to stop.
constexpr int64_t kDrainMs = 2000;
constexpr int64_t kAskMs = 100;
constexpr int64_t kAskConditionMs = 500;

absl::Status MakeEmpty(const std::string& folder) {
  std::error_code error;
  std::filesystem::remove_all(folder, error);
  std::filesystem::create_directories(folder, error);
  if (!error) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format("cannot make {}: {}", folder, error.message()));
}

// Waits for a scheduler that is not there yet, but not for one that says no.
absl::Status RegisterFirst(SchedulerClient* scheduler, StopSignal* stop) {
  Backoff backoff(reinterpret_cast<uintptr_t>(scheduler));
  while (true) {
    const absl::Status status = scheduler->CurrentRegistration().status();
    if (status.ok() || stop->stopped()) return absl::OkStatus();
    if (!IsTransient(status)) return status;
    stop->WaitFor(backoff.NextMs());
  }
}

void Poll(SchedulerClient* scheduler, const ConditionFunction& condition, LeaseQueue* leases,
          StopSignal* stop) {
  Backoff backoff(reinterpret_cast<uintptr_t>(leases));
  while (true) {
    const LeaseQueue::Wanted wanted = leases->WaitForDemand();
    if (wanted.shards == 0) return;
    const corpgrid::v1::Condition now = condition();
    if (now.source() == corpgrid::v1::Condition::BATTERY || !now.closed().empty()) {
      if (stop->WaitFor(kAskConditionMs)) return;
      continue;
    }
    corpgrid::v1::PollJobsRequest request;
    request.set_max_shards(wanted.shards);
    request.set_wait_ms(wanted.idle ? kIdleWaitMs : kBusyWaitMs);
    for (const uint64_t id : leases->HeldIds()) request.add_held_attempts(id);
    const absl::StatusOr<corpgrid::v1::PollJobsResponse> reply =
        scheduler->Poll(std::move(request));
    if (reply.ok()) {
      leases->Add(*reply);
      backoff.Reset();
    } else if (stop->WaitFor(backoff.NextMs())) {
      return;
    }
  }
}

// Tells what was running when an earlier run of this agent died, but for what is in `finished`.
// Before the first poll, which would get it back.
void ReportDeaths(const std::string& grid_id, const std::vector<FinishedAttempt>& finished,
                  Begun* begun, SchedulerClient* scheduler, StopSignal* stop) {
  std::vector<BegunAttempt> left = begun->Left(grid_id);
  std::erase_if(left, [&](const BegunAttempt& attempt) {
    return std::any_of(finished.begin(), finished.end(),
                       [&](const auto& done) { return done.attempt.id == attempt.id; });
  });
  Backoff backoff(reinterpret_cast<uintptr_t>(begun));
  absl::Status told = left.empty() ? absl::OkStatus() : scheduler->ReportDeath(left);
  while (IsTransient(told)) {
    if (stop->WaitFor(backoff.NextMs())) return;  // for the next run
    told = scheduler->ReportDeath(left);
  }
  begun->ForgetLeft();
  if (left.empty()) return;
  spdlog::warn("this agent died while it ran {} shards{}", left.size(),
               told.ok() ? "" : fmt::format("; nobody is told: {}", std::string(told.message())));
}

// Hands in what an earlier run of this agent has finished, as far as somebody still waits for it.
void HandInLeft(std::vector<FinishedAttempt> left, const Journal& journal,
                SchedulerClient* scheduler, LeaseQueue* leases, Submitter* submitter,
                StopSignal* stop) {
  if (left.empty()) return;
  // Asked first: a result that comes too late would count against the device.
  corpgrid::v1::HeartbeatRequest request;
  for (const FinishedAttempt& finished : left) {
    request.add_attempts()->set_attempt_id(finished.attempt.id.value);
  }
  Backoff backoff(reinterpret_cast<uintptr_t>(leases));
  absl::StatusOr<corpgrid::v1::HeartbeatResponse> reply = scheduler->Heartbeat(request);
  while (!reply.ok() && !stop->WaitFor(backoff.NextMs())) reply = scheduler->Heartbeat(request);
  if (!reply.ok()) return;  // for the next run
  std::set<uint64_t> unwanted;
  for (const auto& told : reply->stop()) {
    if (!told.give_back()) unwanted.insert(told.attempt_id());
  }
  for (FinishedAttempt& finished : left) {
    const AttemptId id = finished.attempt.id;
    if (unwanted.contains(id.value)) {
      journal.Forget(id);
      continue;
    }
    uint64_t output_bytes = 0;
    for (const job::Output& output : finished.result.outputs) output_bytes += output.size_bytes;
    leases->Adopt(id, output_bytes);
    submitter->Add(std::move(finished));
  }
  spdlog::info("{} shards were finished before a restart, {} of them are still wanted", left.size(),
               left.size() - unwanted.size());
}

struct Hosting {
  std::unique_ptr<corpgrid::v1::Hosts::Stub> hosts;
  std::vector<std::jthread> threads;  // end when they are told to stop
};

Hosting StartHosting(const DaemonParts& parts, SchedulerClient* scheduler, StopSignal* stop) {
  Hosting hosting{corpgrid::v1::Hosts::NewStub(parts.channel), {}};
  if (!parts.models) return hosting;
  hosting.threads.emplace_back([&parts, scheduler, hosts = hosting.hosts.get(), stop] {
    RunHosting(hosts, scheduler, parts.models, parts.condition, stop);
  });
  hosting.threads.emplace_back([&parts, scheduler, hosts = hosting.hosts.get(), stop] {
    RunRelay(hosts, scheduler, parts.models, stop);
  });
  return hosting;
}

void Tell(const std::string& what) { spdlog::error("the grid's audit log: {}", what); }

Capacity::Amount CapacityOf(const DaemonParts& parts) {
  return {.cpus = std::max(parts.slots, parts.device.info.cpus()),
          .memory_bytes = parts.device.info.memory_bytes()};
}

// What an agent keeps on its disk.
struct Storage {
  std::unique_ptr<BundleCache> bundles;
  std::unique_ptr<Journal> journal;
  std::unique_ptr<Begun> begun;
};

absl::StatusOr<Storage> OpenStorage(const DaemonParts& parts) {
  Storage storage;
  RETURN_IF_ERROR(MakeEmpty(parts.data_folder + "/slots"));
  RETURN_IF_ERROR(MakeEmpty(parts.data_folder + "/spool"));
  ASSIGN_OR_RETURN(storage.bundles,
                   BundleCache::Open(parts.data_folder + "/cache", parts.cache_bytes));
  ASSIGN_OR_RETURN(storage.journal, Journal::Open(parts.data_folder + "/finished"));
  ASSIGN_OR_RETURN(storage.begun, Begun::Open(parts.data_folder + "/begun", parts.slots));
  return storage;
}

// What earlier runs left.
void SettleLeft(const std::string& grid_id, const Storage& storage, SchedulerClient* scheduler,
                LeaseQueue* leases, Submitter* submitter, StopSignal* stop) {
  std::vector<FinishedAttempt> left = storage.journal->TakeLeft(grid_id);
  ReportDeaths(grid_id, left, storage.begun.get(), scheduler, stop);
  HandInLeft(std::move(left), *storage.journal, scheduler, leases, submitter, stop);
}

absl::Status Serve(const DaemonParts& parts, StopSignal* stop) {
  const auto scheduler_stub = corpgrid::v1::Scheduler::NewStub(parts.channel);
  const auto objects_stub = corpgrid::v1::Objects::NewStub(parts.channel);
  const auto audit_stub = corpgrid::v1::Audit::NewStub(parts.channel);
  StopSignal abort;
  Registrar registrar(scheduler_stub.get(), parts.key, parts.device, parts.condition, parts.clock,
                      stop);
  RemoteScheduler scheduler(scheduler_stub.get(), objects_stub.get(), audit_stub.get(), &registrar,
                            parts.condition, stop, &abort);
  ASSIGN_OR_RETURN(const Storage storage, OpenStorage(parts));
  RETURN_IF_ERROR(RegisterFirst(&scheduler, stop));
  const auto registration = scheduler.CurrentRegistration();
  if (!registration.ok()) return absl::OkStatus();  // told to stop before
  const std::string grid_id = (*registration)->grid_id;

  JobCache jobs(&scheduler, storage.bundles.get(), parts.trusts,
                parts.device.info.network_allowed());
  LeaseQueue leases(parts.slots, parts.clock);
  Submitter submitter(&scheduler, parts.key, &leases, storage.journal.get(), &abort);
  SettleLeft(grid_id, storage, &scheduler, &leases, &submitter, stop);
  const auto hand_in = [&](FinishedAttempt finished) {
    const absl::Status kept = storage.journal->Keep(grid_id, finished);
    if (!kept.ok()) {
      spdlog::warn("a restart would repeat attempt {}: {}", finished.attempt.id.value,
                   std::string(kept.message()));
    }
    submitter.Add(std::move(finished));
  };
  Checkpoints checkpoints(&scheduler, &abort);
  Capacity capacity(CapacityOf(parts));
  Executor executor(SlotContext{.data_folder = parts.data_folder,
                                .runner_path = parts.runner_path,
                                .leases = &leases,
                                .jobs = &jobs,
                                .capacity = &capacity,
                                .resources = parts.resources,
                                .scheduler = &scheduler,
                                .checkpoints = &checkpoints,
                                .journal = storage.journal.get(),
                                .begun = storage.begun.get(),
                                .grid_id = grid_id,
                                .hand_in = hand_in,
                                .start_session = parts.start_session,
                                .stop = stop,
                                .clock = parts.clock},
                    parts.slots);
  Heartbeat heartbeat(
      {.scheduler = &scheduler,
       .leases = &leases,
       .running = [&] { return executor.Running(); },
       .cancel = [&](AttemptId id) { return executor.Cancel(id); },
       .drop = [&](AttemptId id) { submitter.Drop(id); },
       .give_back = [&](AttemptId id, const std::string& why) { executor.GiveBack(id, why); },
       .hand_in = hand_in});
  std::thread beating([&] { heartbeat.Run(stop); });
  std::thread polling([&] { Poll(&scheduler, parts.condition, &leases, stop); });
  const Hosting hosting = StartHosting(parts, &scheduler, stop);
  const std::jthread watching([&] { LogWatch(&scheduler, parts.data_folder, Tell).Run(stop); });

  while (!stop->WaitFor(kIdleWaitMs)) continue;
  storage.begun->Close();
  executor.Stop();
  polling.join();
  beating.join();
  for (const Attempt& attempt : leases.TakeAllQueued()) {
    submitter.Add(GivenBack(attempt, kStopping));
  }
  submitter.Drain(kDrainMs);
  return absl::OkStatus();
}

}  // namespace

absl::Status RunDaemon(const DaemonParts& parts,
                       const std::function<bool(int64_t)>& asked_to_stop) {
  StopSignal stop;
  std::thread watching([&] {
    while (!stop.stopped()) {
      if (asked_to_stop(kAskMs)) stop.Stop();
    }
  });
  absl::Status status = Serve(parts, &stop);
  stop.Stop();
  watching.join();
  return status;
}

}  // namespace corpgrid::agent
