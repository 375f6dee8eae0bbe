#include "store/follower.h"

#include <array>
#include <random>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "fmt/format.h"
#include "spdlog/spdlog.h"
#include "store/changes.h"
#include "store/followed.h"
#include "store/leader.h"
#include "store/postgres.h"
#include "store/postgres_store.h"
#include "store/schema.h"
#include "store/sql_store.h"

namespace corpgrid::store {
namespace {

constexpr absl::Duration kPause = absl::Milliseconds(100);
// For so long the leader keeps what a follower has not read. While it loads it does not say that
// it is there.
constexpr int64_t kFollowsMs = 10'000;
constexpr int64_t kLoadsMs = 600'000;
// Between looks whether a leader of another version has gone.
constexpr absl::Duration kOtherVersionPause = absl::Seconds(10);
// When the leader has missed a renewal, and a takeover is likely.
constexpr int64_t kLateMs = kRenewMs + 300;
// By then the leader knows that it is followed.
constexpr absl::Duration kNoticed = absl::Milliseconds(2 * kRenewMs);

// Its tables, or the rows that its leader writes down, are not as this program has them.
bool IsOfOtherVersion(const absl::Status& status) {
  return absl::IsFailedPrecondition(status) || absl::IsInvalidArgument(status);
}

}  // namespace

// A session that reads.
class Follower::Reader final : public SqlStore {
 public:
  explicit Reader(postgres::Connection db) : db_(std::move(db)) {}

  // All tables as of one moment.
  absl::StatusOr<core::Snapshot> Load() override {
    RETURN_IF_ERROR(db_.RunScript("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"));
    absl::StatusOr<core::Snapshot> snapshot = SqlStore::Load();
    RETURN_IF_ERROR(db_.RunScript("COMMIT"));
    return snapshot;
  }

  // FailedPrecondition when the tables are not the ones that this program would make.
  absl::Status CheckSchema() {
    ASSIGN_OR_RETURN(const std::vector<AppliedStep> applied, AppliedSteps(db_));
    ASSIGN_OR_RETURN(const std::vector<Migration> missing, MissingSteps(Migrations(), applied));
    if (missing.empty() && applied.size() == Migrations().size()) return absl::OkStatus();
    return absl::FailedPreconditionError(
        "the scheduler that leads is of another version; a takeover reads the whole state");
  }

  // Says that everything after `batch` is still to be read, and that this holds for `ms`.
  absl::Status Announce(uint64_t batch, int64_t ms) {
    return db_.Run(std::vector{AnnounceFollower(number_, batch, ms)});
  }

  // How long ago the leader showed itself, by the server's clock.
  absl::StatusOr<int64_t> LeaseAgeMs() {
    int64_t age_ms = 0;
    RETURN_IF_ERROR(db_.Ask(fmt::format("SELECT {} - renewed_ms FROM leader", kNowMs), {},
                            [&](const Columns& columns) {
                              age_ms = columns.Int(0);
                              return absl::OkStatus();
                            }));
    return age_ms;
  }

  void Leave() { db_.Run(std::vector{RemoveFollower(number_)}).IgnoreError(); }

  // Keeps in `rows` what was committed since. Aborted when that is not there any more.
  absl::Status Catch(LiveRows* rows) {
    const uint64_t first = rows->meta().batch;
    uint64_t newest = first;
    RETURN_IF_ERROR(db_.Ask(kSelectChanges, std::array{static_cast<int64_t>(first)},
                            [&](const Columns& columns) -> absl::Status {
                              newest = static_cast<uint64_t>(columns.Int(0));
                              if (columns.IsNull(1) ||
                                  static_cast<uint64_t>(columns.Int(1)) != rows->meta().batch + 1) {
                                return absl::OkStatus();
                              }
                              ASSIGN_OR_RETURN(const core::WriteBatch batch,
                                               DecodeChanges(columns.Bytes(2)));
                              rows->Keep(batch);
                              return absl::OkStatus();
                            }));
    if (rows->meta().batch == newest) return absl::OkStatus();
    return absl::AbortedError(
        fmt::format("batch {} is not among the changes", rows->meta().batch + 1));
  }

 private:
  absl::Status Ask(std::string_view sql, std::span<const int64_t> numbers,
                   const OnRow& on_row) override {
    return db_.Ask(sql, numbers, on_row);
  }
  absl::Status AskReader(std::string_view, std::span<const int64_t>, const OnRow&) const override {
    return absl::FailedPreconditionError("a follower has one thread");
  }
  absl::Status Write(const core::WriteBatch&) override {
    return absl::FailedPreconditionError("a follower does not write");
  }

  postgres::Connection db_;
  const int64_t number_ = static_cast<int64_t>(std::random_device()()) + 1;
};

Follower::Follower(std::string url, const core::GridConfig& config)
    : url_(std::move(url)), config_(config), thread_([this] { Run(); }) {}

Follower::~Follower() { End(); }

bool Follower::ready() const {
  absl::MutexLock lock(&mutex_);
  return ready_;
}

bool Follower::has_built() const {
  absl::MutexLock lock(&mutex_);
  return has_built_;
}

bool Follower::ended() const {
  absl::MutexLock lock(&mutex_);
  return ending_;
}

void Follower::Run() {
  absl::Status said;
  absl::MutexLock lock(&mutex_);
  while (!ending_) {
    mutex_.Unlock();
    const absl::Status status = Follow();
    if (!status.ok() && status.code() != said.code()) {
      spdlog::warn("what the leader commits cannot be followed: {}", std::string(status.message()));
    }
    said = status;
    mutex_.Lock();
    ready_ = status.ok() && rows_;
    has_built_ = built_ != nullptr;
    mutex_.AwaitWithTimeout(absl::Condition(&ending_),
                            IsOfOtherVersion(status) ? kOtherVersionPause : kPause);
  }
}

absl::Status Follower::Follow() {
  const auto follow = [this]() -> absl::Status {
    if (!reader_) {
      ASSIGN_OR_RETURN(postgres::Connection db, postgres::Connection::Open(url_));
      reader_ = std::make_unique<Reader>(std::move(db));
    }
    if (!rows_ && !announced_) {
      RETURN_IF_ERROR(reader_->CheckSchema());
      RETURN_IF_ERROR(reader_->Announce(0, kLoadsMs));
      announced_ = absl::Now();
    }
    if (!rows_ && absl::Now() - *announced_ < kNoticed) return absl::OkStatus();
    if (!rows_) {
      ASSIGN_OR_RETURN(core::Snapshot snapshot, reader_->Load());
      rows_.emplace(std::move(snapshot));
    }
    RETURN_IF_ERROR(reader_->Catch(&*rows_));
    RETURN_IF_ERROR(reader_->Announce(rows_->meta().batch, kFollowsMs));
    return BuildIfLate();
  };
  const absl::Status status = follow();
  if (absl::IsUnavailable(status)) reader_.reset();
  if (!status.ok() && !absl::IsUnavailable(status)) rows_.reset();  // to be read again
  if (!status.ok()) announced_.reset();
  if (IsOfOtherVersion(status) && reader_)
    reader_->Leave();  // Nothing is to be written down for it.
  return status;
}

absl::Status Follower::BuildIfLate() {
  // The leader goes on. That the lease is young again does not say so: this scheduler may have
  // taken it a moment ago.
  if (built_ && built_->meta().batch != rows_->meta().batch) built_.reset();
  ASSIGN_OR_RETURN(const int64_t age_ms, reader_->LeaseAgeMs());
  if (built_ || age_ms < kLateMs) return absl::OkStatus();
  // Whoever takes over says what is wrong with the rows, if anything is.
  absl::StatusOr<core::Grid> grid = core::Grid::Load(config_, rows_->ToSnapshot());
  if (grid.ok()) built_ = std::make_unique<core::Grid>(*std::move(grid));
  return absl::OkStatus();
}

void Follower::End() {
  {
    absl::MutexLock lock(&mutex_);
    ending_ = true;
  }
  if (!thread_.joinable()) return;
  thread_.join();
  if (reader_) reader_->Leave();
}

std::unique_ptr<core::Grid> Follower::TakeOverBuilt() {
  End();
  if (taken_ || !built_ || !rows_ || !reader_ || !reader_->Catch(&*rows_).ok()) return nullptr;
  if (built_->meta().batch != rows_->meta().batch) return nullptr;
  taken_ = true;
  return std::move(built_);
}

absl::StatusOr<core::Snapshot> Follower::TakeOver() {
  End();
  if (std::exchange(taken_, true)) return absl::FailedPreconditionError("it follows no more");
  if (!rows_ || !reader_) return absl::UnavailableError("the state was not read yet");
  RETURN_IF_ERROR(reader_->Catch(&*rows_));
  return rows_->ToSnapshot();
}

}  // namespace corpgrid::store
