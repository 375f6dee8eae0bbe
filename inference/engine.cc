#include "inference/engine.h"

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "fmt/format.h"

namespace corpgrid::inference {
namespace {

// A request that shares this much more with a prompt which is being computed than with what is
// computed already waits for it.
constexpr uint32_t kWorthWaitingFor = 16;

uint32_t CommonPrefix(std::span<const Token> a, std::span<const Token> b) {
  const size_t most = std::min(a.size(), b.size());
  return static_cast<uint32_t>(
      std::mismatch(a.begin(), a.begin() + static_cast<ptrdiff_t>(most), b.begin()).first -
      a.begin());
}

}  // namespace

// One answer of a request, from its arrival to its end. What is known of its tokens and not
// computed is what it needs next: a prompt, the token that was just chosen, or after a preemption
// all of it.
struct Engine::Sequence {
  uint64_t request = 0;
  uint64_t age = 0;  // the smaller, the older
  uint32_t choice = 0;
  std::shared_ptr<const Request> spec;
  std::shared_ptr<Listener> listener;
  Sampler sampler{Sampling{}};
  TextStream text{{}};
  size_t filter_bytes = 0;
  std::vector<Token> tokens;  // prompt and answer; empty until it starts
  uint32_t computed = 0;      // of them, that are in the slot
  uint32_t slot = 0;
  uint32_t max_tokens = 0;
  Usage usage;
  bool started = false;  // had a slot before
  bool finished = false;

  uint32_t pending() const { return static_cast<uint32_t>(tokens.size()) - computed; }
  const std::vector<Token>& known() const { return started ? tokens : spec->prompt; }
  bool answering() const { return usage.answer_tokens > 0; }
};

Engine::Engine(Decoder* decoder, const Vocabulary* vocabulary, const Clock* clock,
               StepBudget budget, uint32_t threads)
    : decoder_(decoder),
      vocabulary_(vocabulary),
      clock_(clock),
      budget_(budget),
      shape_(decoder->shape()),
      cache_(decoder),
      most_running_(shape_.slots),
      threads_(threads) {
  CHECK_INVARIANT(budget.tokens >= shape_.slots && budget.prompt_tokens_beside_answers > 0);
}

Engine::~Engine() { FailAll(absl::CancelledError("the model is unloaded")); }

absl::Status Engine::Submit(uint64_t id, const Checked& checked,
                            const std::shared_ptr<Listener>& listener) {
  const std::shared_ptr<const Request>& spec = checked.request;
  if (queue_.size() + spec->choices > kMaxWaiting) {
    return absl::ResourceExhaustedError(
        fmt::format("{} answers wait for this model already; try again later", queue_.size()));
  }
  if (const size_t own = queue_.Waiting(spec->client); own + spec->choices > kMaxWaitingOfClient) {
    return absl::ResourceExhaustedError(
        fmt::format("{} answers of this client wait already, of {} at most; try again later", own,
                    kMaxWaitingOfClient));
  }
  const auto prompt = static_cast<uint32_t>(spec->prompt.size());
  const uint32_t room = std::min(shape_.cells_per_slot(), shape_.max_sequence) - prompt;
  for (uint32_t choice = 0; choice < spec->choices; ++choice) {
    auto sequence = std::make_unique<Sequence>();
    Sampling sampling = spec->sampling;
    sampling.seed = SeedOfChoice(sampling.seed, choice);
    sequence->request = id;
    sequence->age = ++ages_;
    sequence->choice = choice;
    sequence->spec = spec;
    sequence->listener = listener;
    sequence->filter_bytes = checked.filter_bytes;
    sequence->sampler = Sampler(std::move(sampling));
    sequence->text = TextStream(spec->stop);
    sequence->max_tokens = spec->max_tokens == 0 ? room : std::min(room, spec->max_tokens);
    sequence->usage.prompt_tokens = prompt;
    queue_.Push(spec->client, sequence->age);
    waiting_.emplace(sequence->age, std::move(sequence));
  }
  return absl::OkStatus();
}

void Engine::Cancel(uint64_t id) {
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    Sequence& sequence = *it->second;
    if (sequence.request != id) {
      ++it;
      continue;
    }
    queue_.Remove(sequence.spec->client, sequence.age);
    Finished(&sequence, Finish::kCancelled, absl::OkStatus());
    it = waiting_.erase(it);
  }
  for (auto* list : {&preempted_, &running_}) {
    for (const auto& sequence : *list) {
      if (sequence->request == id) Finished(sequence.get(), Finish::kCancelled, absl::OkStatus());
    }
  }
  RemoveFinished();
}

void Engine::FailAll(const absl::Status& status) {
  for (auto& [age, sequence] : waiting_) {
    queue_.Remove(sequence->spec->client, age);
    Finished(sequence.get(), Finish::kFailed, status);
  }
  waiting_.clear();
  for (auto* list : {&preempted_, &running_}) {
    for (const auto& sequence : *list) Finished(sequence.get(), Finish::kFailed, status);
  }
  RemoveFinished();
}

int64_t Engine::ThinkingMs() const {
  const int64_t since_us = thinks_since_us_;
  return since_us == 0 ? 0 : (clock_->MonotonicUs() - since_us) / 1000;
}

bool Engine::Step() {
  thinks_since_us_ = clock_->MonotonicUs();
  const absl::Cleanup done = [this] { thinks_since_us_ = 0; };
  Admit();
  if (running_.empty()) return false;
  std::vector<uint32_t> shares = Plan();
  MakeRoom(&shares);
  const absl::Status status = Compute(shares);
  ++stats_.steps;
  if (!status.ok()) Recover(shares, status);
  RemoveFinished();
  return true;
}

void Engine::Recover(const std::vector<uint32_t>& shares, const absl::Status& status) {
  const bool full = absl::IsResourceExhausted(status);
  // The memory is fuller than we count it to be: what is kept for reuse goes first, then the
  // youngest, and fewer run at once until one of them has ended.
  bool evicted = false;
  while (full && cache_.Evict()) evicted = true;
  const bool fails = !full || (!evicted && running_.size() == 1);
  for (size_t i = 0; i < running_.size(); ++i) {
    if (shares[i] == 0) continue;
    cache_.Clear(running_[i]->slot);
    running_[i]->computed = 0;
    if (fails) Finished(running_[i].get(), Finish::kFailed, status);
  }
  if (fails || evicted) return;
  PreemptYoungest();
  most_running_ = static_cast<uint32_t>(running_.size());
}

bool Engine::HasPlace() const { return cache_.idle_slots() > 0 && running_.size() < most_running_; }

void Engine::Admit() {
  // Those that gave way come first: they are older than all that never ran.
  while (!preempted_.empty() && CanStart(*preempted_.front())) {
    auto sequence = std::move(preempted_.front());
    preempted_.erase(preempted_.begin());
    CHECK_INVARIANT(Start(std::move(sequence)));
  }
  while (preempted_.empty() && HasPlace()) {
    const auto age = queue_.Take([this](uint64_t item) { return CanStart(*waiting_.at(item)); });
    if (!age) return;
    auto node = waiting_.extract(*age);
    CHECK_INVARIANT(Start(std::move(node.mapped())));
  }
}

bool Engine::CanStart(const Sequence& sequence) const {
  if (!HasPlace()) return false;
  const bool grammars_fit = filter_bytes_ + sequence.filter_bytes <= kMaxFilterBytes;
  if (!sequence.started && filter_bytes_ > 0 && !grammars_fit) return false;
  const std::vector<Token>& known = sequence.known();
  const uint32_t reusable = cache_.Reusable(known);
  if (shape_.layout == KvShape::Layout::kShared && !running_.empty()) {
    // Every running answer needs a cell for its next token, too.
    const uint32_t needed =
        static_cast<uint32_t>(known.size()) - reusable + 1 + static_cast<uint32_t>(running_.size());
    if (needed > cache_.RoomWithoutReuse()) return false;
  }
  if (!shape_.reuses_prefixes) return true;
  for (const auto& other : running_) {
    if (other->pending() <= 1) continue;
    if (CommonPrefix(other->tokens, known) >= reusable + kWorthWaitingFor) return false;
  }
  return true;
}

bool Engine::Start(std::unique_ptr<Sequence> sequence) {
  const auto taken = cache_.Take(sequence->known());
  if (!taken) return false;
  if (!sequence->started) {
    const Request& spec = *sequence->spec;
    sequence->tokens = spec.prompt;
    if (!spec.grammar.empty()) {
      auto filter = vocabulary_->MakeFilter(spec.grammar, spec.show_control);
      CHECK_INVARIANT(filter.ok());  // as in Check()
      sequence->sampler.SetFilter(*std::move(filter));
      filter_bytes_ += sequence->filter_bytes;
    }
  }
  sequence->slot = taken->slot;
  sequence->computed = taken->reused;
  stats_.reused_tokens += taken->reused;
  if (!sequence->started) sequence->usage.reused_tokens = taken->reused;
  sequence->started = true;
  const auto place =
      std::upper_bound(running_.begin(), running_.end(), sequence->age,
                       [](uint64_t age, const auto& other) { return age < other->age; });
  running_.insert(place, std::move(sequence));
  return true;
}

std::vector<uint32_t> Engine::Plan() {
  std::vector<Pending> pending;
  pending.reserve(running_.size());
  for (const auto& sequence : running_) {
    pending.push_back({sequence->pending(), sequence->answering()});
  }
  return PlanStep(pending, Paced(budget_, us_per_prompt_token_));
}

void Engine::MakeRoom(std::vector<uint32_t>* shares) {
  if (shape_.layout == KvShape::Layout::kStreams) return;  // each has its own
  const auto needed = [&] {
    uint32_t sum = 0;
    for (const uint32_t share : *shares) sum += share;
    return sum;
  };
  while (needed() > cache_.RoomInAll()) {
    if (cache_.Evict()) continue;
    CHECK_INVARIANT(running_.size() > 1);  // one alone fits: Check()
    PreemptYoungest();
    *shares = Plan();
  }
}

void Engine::PreemptYoungest() {
  auto youngest = std::move(running_.back());
  running_.pop_back();
  cache_.Clear(youngest->slot);
  cache_.Release(youngest->slot);
  ++stats_.preemptions;
  const auto place =
      std::upper_bound(preempted_.begin(), preempted_.end(), youngest->age,
                       [](uint64_t age, const auto& other) { return age < other->age; });
  preempted_.insert(place, std::move(youngest));
}

absl::Status Engine::Compute(const std::vector<uint32_t>& shares) {
  std::vector<size_t> order;
  for (size_t i = 0; i < running_.size(); ++i) {
    if (shares[i] > 0) order.push_back(i);
  }
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return running_[a]->slot < running_[b]->slot; });
  std::vector<Row> rows;
  std::vector<size_t> last_rows(running_.size());
  StepSize size;
  for (const size_t i : order) {
    const Sequence& sequence = *running_[i];
    for (uint32_t n = 0; n < shares[i]; ++n) {
      const uint32_t position = sequence.computed + n;
      const bool last = position + 1 == sequence.tokens.size();
      rows.push_back({sequence.tokens[position], position, sequence.slot, last});
      size.keys += position;
    }
    last_rows[i] = rows.size() - 1;
  }
  size.rows = static_cast<uint32_t>(rows.size());
  decoder_->SetThreads(threads_.Choose(size));
  thinks_since_us_ = 0;
  const int64_t start_us = clock_->MonotonicUs();
  const absl::Status status = decoder_->Decode(rows);
  const int64_t end_us = clock_->MonotonicUs();
  thinks_since_us_ = end_us;
  RETURN_IF_ERROR(status);
  const int64_t took_us = end_us - start_us;
  threads_.Took(took_us);
  if (rows.size() > order.size()) us_per_prompt_token_ = 1.0 * took_us / rows.size();
  for (const size_t i : order) Advance(running_[i].get(), shares[i], last_rows[i]);
  return absl::OkStatus();
}

void Engine::Advance(Sequence* sequence, uint32_t count, size_t last_row) {
  cache_.Append(sequence->slot, std::span(sequence->tokens).subspan(sequence->computed, count));
  stats_.computed_tokens += count;
  queue_.Charge(sequence->spec->client, count);
  sequence->computed += count;
  if (sequence->pending() == 0) AddToken(sequence, decoder_->Logits(last_row));
}

void Engine::AddToken(Sequence* sequence, std::span<const float> logits) {
  Delta delta;
  delta.choice = sequence->choice;
  std::optional<SampledToken> sampled =
      sequence->sampler.Sample(logits, sequence->usage.answer_tokens);
  if (!sampled) {
    Finished(sequence, Finish::kFailed,
             absl::InvalidArgumentError("the grammar allows none of the model's tokens here"));
    return;
  }
  delta.token = *std::move(sampled);
  const Token token = delta.token.chosen.token;
  if (vocabulary_->IsEnd(token) && !sequence->spec->ignore_end) {
    Finished(sequence, Finish::kStop, absl::OkStatus());
    return;
  }
  if (absl::Status status = sequence->sampler.Accept(token); !status.ok()) {
    Finished(sequence, Finish::kFailed, std::move(status));
    return;
  }
  sequence->tokens.push_back(token);
  ++sequence->usage.answer_tokens;
  ++stats_.answer_tokens;
  delta.text = sequence->text.Push(vocabulary_->Piece(token, sequence->spec->show_control));
  sequence->listener->OnDelta(delta);
  if (sequence->text.stopped()) {
    Finished(sequence, Finish::kStop, absl::OkStatus());
  } else if (sequence->usage.answer_tokens >= sequence->max_tokens) {
    Finished(sequence, Finish::kLength, absl::OkStatus());
  }
}

void Engine::Finished(Sequence* sequence, Finish finish, absl::Status status) {
  if (sequence->finished) return;
  sequence->finished = true;
  End end;
  end.choice = sequence->choice;
  end.finish = finish;
  end.text = sequence->text.Finish();
  end.status = std::move(status);
  end.usage = sequence->usage;
  sequence->listener->OnEnd(end);
}

void Engine::RemoveFinished() {
  for (auto* list : {&preempted_, &running_}) {
    for (const auto& sequence : *list) {
      if (!sequence->finished) continue;
      queue_.Ended(sequence->spec->client);
      filter_bytes_ -= sequence->filter_bytes;
      if (list == &running_) cache_.Release(sequence->slot);
      most_running_ = shape_.slots;
    }
    std::erase_if(*list, [](const auto& sequence) { return sequence->finished; });
  }
}

const EngineStats& Engine::stats() {
  stats_.running = static_cast<uint32_t>(running_.size());
  stats_.waiting = static_cast<uint32_t>(waiting_.size() + preempted_.size());
  stats_.used_cells = shape_.cells - cache_.RoomWithoutReuse();
  stats_.all_cells = shape_.cells;
  return stats_;
}

}  // namespace corpgrid::inference
