#include "scheduler/comparer.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/status_macros.h"
#include "fmt/format.h"
#include "job/closeness.h"
#include "job/text.h"
#include "spdlog/spdlog.h"

namespace corpgrid::scheduler {
namespace {

constexpr absl::Duration kRetryDelay = absl::Milliseconds(500);
constexpr size_t kMaxReason = 500;

// What a program or an output says, fit for people and the wire.
std::string Bounded(std::string_view text) { return job::Printable(text.substr(0, kMaxReason)); }

}  // namespace

Comparer::Comparer(objects::ObjectStore* objects, GrantTable* grants, Validator* validator,
                   CoreLoop* loop)
    : objects_(objects), grants_(grants), validator_(validator), loop_(loop), thread_([this] {
        Run();
      }) {}

void Comparer::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  validator_->Cancel();
  if (thread_.joinable()) thread_.join();
}

void Comparer::Ask(core::Comparison comparison) {
  absl::MutexLock lock(&mutex_);
  questions_.push_back({.comparison = std::move(comparison), .tries = 0u, .answer = {}});
}

void Comparer::Clear() {
  absl::MutexLock lock(&mutex_);
  questions_.clear();
}

void Comparer::Ended(const std::vector<AttemptId>& attempts) {
  {
    absl::MutexLock lock(&mutex_);
    if (std::find(attempts.begin(), attempts.end(), current_) == attempts.end()) return;
  }
  validator_->Interrupt();
}

void Comparer::Again(Question question, const absl::Status& why) {
  const AttemptId attempt = question.comparison.result.attempt;
  if (!grants_->Find(attempt).ok()) return;     // Nobody asks any more.
  if (std::has_single_bit(++question.tries)) {  // It may go on for minutes.
    spdlog::error("results of job {} cannot be compared, trying again: {}",
                  question.comparison.shard.job.value, why.ToString());
  }
  if (!question.answer && question.tries >= kMaxTries) {
    question.answer =
        core::Compared{.attempt = attempt, .difference = Bounded(std::string(why.message()))};
  }
  absl::MutexLock lock(&mutex_);
  questions_.push_back(std::move(question));
  pause_ = true;
}

void Comparer::Run() {
  const auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return stopping_ || !questions_.empty();
  };
  while (true) {
    Question question;
    {
      absl::MutexLock lock(&mutex_);
      current_ = AttemptId();
      mutex_.Await(absl::Condition(&ready));
      if (std::exchange(pause_, false)) {
        mutex_.AwaitWithTimeout(absl::Condition(&stopping_), kRetryDelay);
      }
      if (stopping_) return;
      if (questions_.empty()) continue;  // They were cleared during the pause.
      question = std::move(questions_.front());
      questions_.pop_front();
      current_ = question.comparison.result.attempt;
    }
    if (!question.answer) {
      absl::StatusOr<core::Compared> answer = Compare(question.comparison);
      if (!answer.ok()) {
        Again(std::move(question), answer.status());
        continue;
      }
      question.answer = *std::move(answer);
    }
    loop_->Submit(*question.answer, [this, question](const core::Reply& reply) {
      const auto* status = std::get_if<absl::Status>(&reply);
      if (status && !status->ok()) Again(question, *status);
    });
  }
}

absl::StatusOr<core::Compared> Comparer::Compare(const core::Comparison& comparison) {
  ASSIGN_OR_RETURN(const auto job, grants_->Job(comparison.shard.job));
  const job::Redundancy& redundancy = job->spec->redundancy;
  core::Compared compared{.attempt = comparison.result.attempt};
  for (const core::Comparison::Side& other : comparison.others) {
    // A job that has ended needs no more of this, and each may take long.
    RETURN_IF_ERROR(grants_->Find(compared.attempt).status());
    ASSIGN_OR_RETURN(
        const std::string difference,
        redundancy.validator == job::Validator::kProgram
            ? validator_->Difference(*job, comparison.result.outputs, other.outputs)
            : NumericDifference(redundancy.tolerance, comparison.result.outputs, other.outputs));
    if (difference.empty()) {
      compared.close.push_back(other.attempt);
    } else {
      compared.difference = Bounded(difference);
    }
  }
  return compared;
}

absl::StatusOr<std::string> Comparer::NumericDifference(const job::Tolerance& tolerance,
                                                        const std::vector<job::Output>& a,
                                                        const std::vector<job::Output>& b) {
  // Both have the outputs that the spec names, in its order (AgentService saw to it).
  for (size_t i = 0; i < a.size(); ++i) {
    const absl::StatusOr<std::string> left = objects::ReadWhole(objects_, a[i].hash);
    const absl::StatusOr<std::string> right = objects::ReadWhole(objects_, b.at(i).hash);
    if (absl::IsDataLoss(left.status()) || absl::IsDataLoss(right.status())) {
      return fmt::format("{}: its stored bytes are damaged", a[i].name);
    }
    RETURN_IF_ERROR(left.status());
    RETURN_IF_ERROR(right.status());
    const std::string found = job::Difference(tolerance, *left, *right);
    if (!found.empty()) return fmt::format("{}, {}", a[i].name, found);
  }
  return "";
}

}  // namespace corpgrid::scheduler
