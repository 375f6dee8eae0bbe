#include "scheduler/scheduler.h"

#include <grpcpp/resource_quota.h>
#include <grpcpp/server_builder.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "crypto/key_file.h"
#include "crypto/signature.h"
#include "fmt/format.h"
#include "objects/object_store.h"
#include "rpc/connect.h"
#include "scheduler/agent_service.h"
#include "scheduler/audit_log.h"
#include "scheduler/audit_service.h"
#include "scheduler/authenticate.h"
#include "scheduler/comparer.h"
#include "scheduler/core_loop.h"
#include "scheduler/data_folder.h"
#include "scheduler/grants.h"
#include "scheduler/hosts_service.h"
#include "scheduler/job_watch.h"
#include "scheduler/jobs_service.h"
#include "scheduler/model_directory.h"
#include "scheduler/model_hosting_service.h"
#include "scheduler/objects_service.h"
#include "scheduler/projects_service.h"
#include "scheduler/relay.h"
#include "scheduler/staging.h"
#include "spdlog/spdlog.h"
#include "store/store.h"

namespace corpgrid::scheduler {
namespace {

using Key = std::array<uint8_t, 32>;

// Calls at a time, polls that wait aside; what comes beyond is told to try again.
constexpr int kMaxThreads = 256;

// A stop waits for the last checkpoint, but not for a store that is away.
constexpr int64_t kViewLogMs = 3000;

// The secret that the person's token and the join tokens are made of; made on the first start,
// readable by this user alone.
absl::StatusOr<Key> LoadOrCreateSecret(const std::string& path) {
  Key key;
  const auto any_owner = [](const struct stat&) { return absl::OkStatus(); };
  absl::StatusOr<std::string> bytes = crypto::ReadKeyFile(path, key.size(), any_owner);
  if (absl::IsNotFound(bytes.status())) {
    bytes = crypto::RandomBytes(key.size());
    RETURN_IF_ERROR(crypto::WriteKeyFile(path, *bytes, 0600, crypto::IfExists::kKeep));
  }
  RETURN_IF_ERROR(bytes.status());
  if (bytes->size() != key.size()) {
    return absl::DataLossError(
        fmt::format("{} is damaged; delete it: the tokens made with it end", path));
  }
  std::copy(bytes->begin(), bytes->end(), key.begin());
  return key;
}

class RunningScheduler final : public Scheduler, public EffectsListener {
 public:
  explicit RunningScheduler(const Options& options)
      : options_(options), config_(ConfigOf(options)) {}

  ~RunningScheduler() override {
    RunningScheduler::Stop();
    // No reactor may outlive the service, no command its listener: the loop ends before what it
    // calls, and after what calls it.
    if (comparer_) comparer_->Stop();
    loop_.reset();
    staging_.reset();
  }

  absl::Status Start();

  const std::string& address() const override { return address_; }

  absl::Status Wait() override {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&ended_));
    return deposed_;
  }

  void Stop() override {
    {
      absl::MutexLock lock(&mutex_);
      if (std::exchange(stopping_, true)) return;
    }
    if (jobs_service_) jobs_service_->StopWatching();
    if (agent_service_)
      agent_service_->FailPolls(absl::UnavailableError("the scheduler is stopping"));
    relay_.Stop();
    if (server_) server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(1));
    if (audit_log_) audit_log_->Stop();  // after the last call that may have logged something
    absl::MutexLock lock(&mutex_);
    ended_ = true;
  }

  void OnCommitted(core::Effects& effects) override {
    for (const AttemptId id : effects.ended) ended_touched_[id] = grants_->End(id);
    for (const auto& [attempt, job] : effects.keep) {
      if (ended_touched_[attempt]) staging_->Keep(AttemptScope(attempt), JobOwner(job));
    }
    for (const AttemptId id : effects.drop) {
      if (ended_touched_[id]) staging_->Drop(AttemptScope(id));
    }
    for (const AttemptId id : effects.drop_states) staging_->Drop(StateScope(id));
    ended_touched_.clear();
    for (const JobId id : effects.removed) {
      grants_->ForgetJob(id);
      staging_->Release(JobOwner(id));
    }
    if (!effects.ended.empty()) comparer_->Ended(effects.ended);
    for (core::Comparison& comparison : effects.compare) comparer_->Ask(std::move(comparison));
    if (!effects.leases.empty()) agent_service_->Deliver(effects.leases);
    for (const JobId id : effects.changed) watch_.Changed(id);
  }

  void OnReloaded(const core::Grid& grid) override {
    grants_->Reset(grid.LiveLeases());
    if (const absl::Status status = RestoreStaged(grid); !status.ok()) {
      spdlog::error("what is staged is not known: {}", status.ToString());
    }
    comparer_->Clear();
    for (core::Comparison& comparison : grid.OpenComparisons()) {
      comparer_->Ask(std::move(comparison));
    }
    if (agent_service_)
      agent_service_->FailPolls(absl::UnavailableError("the scheduler read its state back"));
  }

  // On the core's thread, for whose replies the calls wait that a stop would wait for.
  void OnDeposed(const absl::Status& why) override {
    absl::MutexLock lock(&mutex_);
    deposed_ = why;
    ended_ = true;
  }

  void OnTick() override {
    agent_service_->EndOldPolls();
    relay_.EndSilent(SystemClock().MonotonicMs(), config_.lease_ttl_ms());
  }

 private:
  absl::Status TakeStateAndFolder(const std::string& folder);
  absl::Status LoadState(const std::string& store);
  absl::Status Listen();
  absl::StatusOr<std::unique_ptr<AuditLog>> OpenAuditLog(const std::string& folder);

  // Goes through the scopes, most of which a million live attempts do not have.
  absl::Status RestoreStaged(const core::Grid& grid) {
    ASSIGN_OR_RETURN(const std::vector<std::string> scopes, objects_->Scopes());
    for (const std::string& scope : scopes) {
      const AttemptId saver = AttemptOfStateScope(scope);
      const AttemptId attempt = saver ? saver : AttemptOfScope(scope);
      if (!grid.HasLive(attempt)) continue;
      ASSIGN_OR_RETURN(const std::vector<objects::StagedObject> staged, objects_->Staged(scope));
      for (const objects::StagedObject& object : staged) {
        grants_->RecordStaged(attempt, object.name, object.object);
      }
    }
    return absl::OkStatus();
  }

  const Options options_;
  const core::GridConfig config_;
  std::string address_;
  std::optional<FileLock> lock_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<objects::ObjectStore> objects_;
  std::unique_ptr<GrantTable> grants_;
  SessionTable sessions_;
  JobWatch watch_;
  std::unique_ptr<Staging> staging_;
  std::unique_ptr<Authenticator> authenticator_;
  std::unique_ptr<CoreLoop> loop_;
  std::unique_ptr<Validator> validator_;
  std::unique_ptr<Comparer> comparer_;
  std::unique_ptr<AuditLog> audit_log_;
  std::unique_ptr<AgentService> agent_service_;
  std::unique_ptr<ObjectsService> objects_service_;
  std::unique_ptr<JobsService> jobs_service_;
  std::unique_ptr<ProjectsService> projects_service_;
  Relay relay_;
  std::unique_ptr<HostsService> hosts_service_;
  std::unique_ptr<ModelDirectory> model_directory_;
  std::unique_ptr<ModelHostingService> model_hosting_service_;
  std::unique_ptr<AuditService> audit_service_;
  std::unique_ptr<grpc::Server> server_;
  std::map<AttemptId, bool> ended_touched_;  // of the core's thread, within OnCommitted

  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;  // stopped, or of no use any more
  absl::Status deposed_ ABSL_GUARDED_BY(mutex_);
};

// With a store that several schedulers share, the lead comes first: who has it may end the one that
// has the folder still. A SQLite file is a part of the folder, or at least nobody else's.
absl::Status RunningScheduler::TakeStateAndFolder(const std::string& folder) {
  if (store::IsPostgresUrl(options_.store)) {
    RETURN_IF_ERROR(LoadState(options_.store));
    ASSIGN_OR_RETURN(lock_,
                     TakeDataFolder(folder, {.grid_id = loop_->grid_id(), .term = store_->Term()}));
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(lock_, TakeDataFolder(folder, {}));
  return LoadState(options_.store.empty() ? folder + "/state.db" : options_.store);
}

// Once: of a large grid it takes seconds.
absl::Status RunningScheduler::LoadState(const std::string& store) {
  ASSIGN_OR_RETURN(store_, store::Open(store, options_.follower));
  ASSIGN_OR_RETURN(loop_, CoreLoop::Load(config_, store_.get(), &SystemClock(), this));
  return absl::OkStatus();
}

absl::Status RunningScheduler::Start() {
  RETURN_IF_ERROR(rpc::CheckLoopback(options_.listen));
  const std::string folder = options_.data_folder + "/scheduler";
  RETURN_IF_ERROR(TakeStateAndFolder(folder));
  ASSIGN_OR_RETURN(const Key secret, LoadOrCreateSecret(folder + "/secret"));
  ASSIGN_OR_RETURN(objects_, objects::OpenLocalStore(folder + "/objects"));
  grants_ = std::make_unique<GrantTable>(store_.get());
  staging_ = std::make_unique<Staging>(objects_.get());
  const std::string token = crypto::KeyedBlake3(secret, "person").Hex();
  authenticator_ = std::make_unique<Authenticator>(&sessions_, token);

  RETURN_IF_ERROR(ReconcileStaging(objects_.get(), *store_, loop_->grid()));
  const crypto::Hash join_key = crypto::KeyedBlake3(secret, "join tokens");
  agent_service_ = std::make_unique<AgentService>(authenticator_.get(), &sessions_, grants_.get(),
                                                  objects_.get(), loop_.get(), &SystemClock(),
                                                  config_, options_.known_programs);
  objects_service_ =
      std::make_unique<ObjectsService>(authenticator_.get(), grants_.get(), objects_.get());
  validator_ = std::make_unique<Validator>(options_.validator, objects_.get());
  comparer_ =
      std::make_unique<Comparer>(objects_.get(), grants_.get(), validator_.get(), loop_.get());
  jobs_service_ =
      std::make_unique<JobsService>(authenticator_.get(), loop_.get(), store_.get(), objects_.get(),
                                    validator_.get(), &watch_, join_key.bytes);
  projects_service_ = std::make_unique<ProjectsService>(authenticator_.get(), loop_.get());
  hosts_service_ =
      std::make_unique<HostsService>(authenticator_.get(), loop_.get(), &relay_, &SystemClock());
  model_directory_ = std::make_unique<ModelDirectory>(loop_.get(), &relay_);
  model_hosting_service_ = std::make_unique<ModelHostingService>(authenticator_.get(), loop_.get(),
                                                                 model_directory_.get());
  ASSIGN_OR_RETURN(audit_log_, OpenAuditLog(folder));
  audit_service_ =
      std::make_unique<AuditService>(authenticator_.get(), audit_log_.get(), store_.get());
  loop_->Start();
  loop_->Submit(core::NoteStart{store_->Term()}, [](const core::Reply& reply) {
    const absl::Status status = std::get<absl::Status>(reply);
    if (status.ok()) return;
    spdlog::error("the audit log lacks this start: {}", std::string(status.message()));
  });
  audit_log_->Start();
  RETURN_IF_ERROR(Listen());
  const rpc::GridFile file{
      .address = address_, .grid_id = loop_->grid_id(), .token = token, .pid = getpid()};
  return file.Write(options_.data_folder);
}

absl::StatusOr<std::unique_ptr<AuditLog>> RunningScheduler::OpenAuditLog(
    const std::string& folder) {
  return AuditLog::Open(
      {.folder = folder,
       .grid_id = loop_->grid_id(),
       .view = [this] { return loop_->CallFor<core::LogView>(kViewLogMs, core::ViewLog{}); },
       .read = [this](uint64_t first, size_t limit) { return store_->AuditLog(first, limit); },
       .clock = &SystemClock()});
}

absl::Status RunningScheduler::Listen() {
  grpc::ServerBuilder builder;
  int port = 0;
  // Two schedulers on one port would share its calls between them.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  // What rpc::Connect sends is welcome.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 20'000);
  builder.SetMaxReceiveMessageSize(rpc::kMaxMessageBytes);
  builder.AddListeningPort(options_.listen, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(agent_service_.get());
  builder.RegisterService(objects_service_.get());
  builder.RegisterService(jobs_service_.get());
  builder.RegisterService(projects_service_.get());
  builder.RegisterService(hosts_service_.get());
  builder.RegisterService(model_hosting_service_.get());
  builder.RegisterService(audit_service_.get());
  builder.SetResourceQuota(
      grpc::ResourceQuota("scheduler").SetMaxThreads(kMaxThreads).Resize(1ull << 30));
  server_ = builder.BuildAndStart();
  if (!server_ || port == 0) {
    return absl::FailedPreconditionError(
        fmt::format("cannot listen on {}: the port is in use, or not allowed; choose another with "
                    "--listen, port 0 "
                    "picks a free one",
                    options_.listen));
  }
  address_ = fmt::format("{}:{}", options_.listen.substr(0, options_.listen.rfind(':')), port);
  return absl::OkStatus();
}

}  // namespace

core::GridConfig ConfigOf(const Options& options) {
  return {.heartbeat_ms = options.heartbeat_ms,
          .grace_heartbeats = options.grace_heartbeats,
          .weights = options.weights,
          .audit_rate = options.audit_rate,
          .keep_jobs_ms = options.keep_jobs_ms};
}

absl::StatusOr<std::unique_ptr<Scheduler>> Scheduler::Start(const Options& options) {
  auto scheduler = std::make_unique<RunningScheduler>(options);
  RETURN_IF_ERROR(scheduler->Start());
  return scheduler;
}

}  // namespace corpgrid::scheduler
