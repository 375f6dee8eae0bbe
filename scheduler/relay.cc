#include "scheduler/relay.h"

#include <deque>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "rpc/status.h"

namespace corpgrid::scheduler {
namespace {

namespace pb = corpgrid::v1;

// Calls that a device has at a time; what comes beyond is refused.
constexpr size_t kMaxCalls = 10'000;
constexpr size_t kMaxWaitingBytes = 64 << 20;

}  // namespace

// A device's stream. It lives until the stream is over and nobody's call needs it.
class RelayStream final : public Relay::Reactor, public std::enable_shared_from_this<RelayStream> {
 public:
  RelayStream(Relay* relay, DeviceId device) : relay_(relay), device_(device) {}

  void Begin() {
    self_ = shared_from_this();
    StartRead(&read_);
  }

  // Returns the call's number; 0 when it cannot be made, and the listener has heard why.
  uint64_t Start(const std::string& model, std::string_view method, const std::string& request,
                 const std::shared_ptr<rpc::CallListener>& listener) {
    pb::RelayDown down;
    uint64_t number = 0;
    absl::Status refused;
    {
      absl::MutexLock lock(&mutex_);
      if (finished_) refused = Gone();
      if (calls_.size() >= kMaxCalls) {
        refused = absl::ResourceExhaustedError(
            fmt::format("device {} has {} calls already", device_.value, calls_.size()));
      }
      if (waiting_bytes_ > kMaxWaitingBytes) {
        refused = absl::UnavailableError(
            fmt::format("device {} is slow to take its calls", device_.value));
      }
      if (refused.ok()) {
        down.set_call(++last_call_);
        calls_[down.call()] = listener;
        pb::RelayStart* start = down.mutable_start();
        start->set_model(model);
        start->set_method(std::string(method));
        start->set_request(request);
        number = down.call();
        Send(std::move(down));
      }
    }
    if (!refused.ok()) listener->OnEnd(refused);
    return number;
  }

  // The listener hears of it now, whatever the device does.
  void Cancel(uint64_t call) {
    std::shared_ptr<rpc::CallListener> listener;
    {
      absl::MutexLock lock(&mutex_);
      const auto found = calls_.find(call);
      if (found == calls_.end()) return;
      listener = std::move(found->second);
      calls_.erase(found);
      if (!finished_) {
        pb::RelayDown down;
        down.set_call(call);
        down.set_cancel(true);
        Send(std::move(down));
      }
    }
    listener->OnEnd(absl::CancelledError("the caller went away"));
  }

  size_t calls() {
    absl::MutexLock lock(&mutex_);
    return calls_.size();
  }

  // Ends the stream and its calls.
  void End(const grpc::Status& status) {
    std::map<uint64_t, std::shared_ptr<rpc::CallListener>> left;
    {
      absl::MutexLock lock(&mutex_);
      if (std::exchange(finished_, true)) return;
      left.swap(calls_);
      Finish(status);
    }
    for (const auto& [call, listener] : left) listener->OnEnd(Gone());
  }

  // Of the relay's lock.
  int64_t heard_ms = -1;  // -1: not since it began

  void OnReadDone(bool ok) override {
    if (!ok) {
      End(grpc::Status::OK);
      return;
    }
    Take(std::move(read_));
    read_.Clear();
    StartRead(&read_);
  }

  void OnWriteDone(bool ok) override {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    if (ok && !waiting_.empty() && !finished_) WriteNext();
  }

  void OnCancel() override { End(grpc::Status::CANCELLED); }

  void OnDone() override {
    relay_->Detach(this, device_);
    self_.reset();
  }

 private:
  absl::Status Gone() const {
    return absl::UnavailableError(
        fmt::format("the connection to device {} is lost", device_.value));
  }

  void Take(pb::RelayUp&& up) {
    std::shared_ptr<rpc::CallListener> listener;
    {
      absl::MutexLock lock(&mutex_);
      const auto found = calls_.find(up.call());
      if (found == calls_.end()) return;  // a call that it never got, or has ended
      listener = found->second;
      if (up.has_end()) calls_.erase(found);
    }
    if (up.has_end()) {
      // A device's word is no more than that: a code that there is none of is an error as well.
      // So is one that speaks of the caller's rights, of which it knows nothing.
      const auto told = static_cast<absl::StatusCode>(up.end().code());
      const bool counts = up.end().code() < grpc::StatusCode::UNAUTHENTICATED &&
                          told != absl::StatusCode::kPermissionDenied;
      const auto code = counts ? told : absl::StatusCode::kInternal;
      listener->OnEnd(rpc::WithFacts(absl::Status(code, up.end().message()), up.end().facts()));
    } else if (up.has_response()) {
      listener->OnResponse(std::move(*up.mutable_response()));
    }
  }

  void Send(pb::RelayDown down) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    waiting_bytes_ += down.ByteSizeLong();
    waiting_.push_back(std::move(down));
    if (!writing_) WriteNext();
  }

  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    written_ = std::move(waiting_.front());
    waiting_.pop_front();
    waiting_bytes_ -= written_.ByteSizeLong();
    writing_ = true;
    StartWrite(&written_);
  }

  Relay* const relay_;
  const DeviceId device_;
  std::shared_ptr<RelayStream> self_;  // until OnDone
  pb::RelayUp read_;

  absl::Mutex mutex_;
  std::map<uint64_t, std::shared_ptr<rpc::CallListener>> calls_ ABSL_GUARDED_BY(mutex_);
  std::deque<pb::RelayDown> waiting_ ABSL_GUARDED_BY(mutex_);
  size_t waiting_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  pb::RelayDown written_ ABSL_GUARDED_BY(mutex_);
  uint64_t last_call_ ABSL_GUARDED_BY(mutex_) = 0;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

namespace {

class RelayCall final : public rpc::WorkerCall {
 public:
  RelayCall(std::shared_ptr<RelayStream> stream, uint64_t call)
      : stream_(std::move(stream)), call_(call) {}
  ~RelayCall() override { stream_->Cancel(call_); }

 private:
  const std::shared_ptr<RelayStream> stream_;
  const uint64_t call_;
};

class NoCall final : public rpc::WorkerCall {};

}  // namespace

class RelayChannel final : public rpc::WorkerChannel {
 public:
  RelayChannel(Relay* relay, DeviceId device, std::string model)
      : relay_(relay), device_(device), model_(std::move(model)) {}

  std::unique_ptr<rpc::WorkerCall> Start(std::string_view method, const std::string& request,
                                         std::shared_ptr<rpc::CallListener> listener) override {
    auto stream = relay_->Find(device_);
    if (!stream) {
      listener->OnEnd(absl::UnavailableError(
          fmt::format("device {}{} is not connected", device_.value,
                      model_.empty() ? "" : fmt::format(", which hosts {},", model_))));
      return std::make_unique<NoCall>();
    }
    const uint64_t call = stream->Start(model_, method, request, listener);
    if (call == 0) return std::make_unique<NoCall>();
    return std::make_unique<RelayCall>(std::move(stream), call);
  }

 private:
  Relay* const relay_;
  const DeviceId device_;
  const std::string model_;
};

Relay::~Relay() { Stop(); }

Relay::Reactor* Relay::Attach(DeviceId device) {
  auto stream = std::make_shared<RelayStream>(this, device);
  stream->Begin();
  std::shared_ptr<RelayStream> older;
  bool stopped = false;
  {
    absl::MutexLock lock(&mutex_);
    stopped = stopped_;
    if (!stopped) older = std::exchange(streams_[device], stream);
  }
  if (older) older->End({grpc::StatusCode::ABORTED, "the device has a newer stream"});
  if (stopped) stream->End({grpc::StatusCode::UNAVAILABLE, "the scheduler is stopping"});
  return stream.get();
}

std::shared_ptr<rpc::WorkerChannel> Relay::ChannelTo(DeviceId device, const std::string& model) {
  return std::make_shared<RelayChannel>(this, device, model);
}

std::shared_ptr<RelayStream> Relay::Find(DeviceId device) {
  absl::MutexLock lock(&mutex_);
  const auto found = streams_.find(device);
  return found == streams_.end() ? nullptr : found->second;
}

std::optional<size_t> Relay::CallsOf(DeviceId device) {
  const std::shared_ptr<RelayStream> stream = Find(device);
  if (!stream) return std::nullopt;
  return stream->calls();
}

void Relay::Detach(const RelayStream* stream, DeviceId device) {
  absl::MutexLock lock(&mutex_);
  const auto found = streams_.find(device);
  if (found != streams_.end() && found->second.get() == stream) streams_.erase(found);
}

void Relay::Heard(DeviceId device, int64_t now_ms) {
  absl::MutexLock lock(&mutex_);
  const auto found = streams_.find(device);
  if (found != streams_.end()) found->second->heard_ms = now_ms;
}

void Relay::EndSilent(int64_t now_ms, int64_t silent_ms) {
  std::vector<std::shared_ptr<RelayStream>> silent;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [device, stream] : streams_) {
      if (stream->heard_ms < 0) stream->heard_ms = now_ms;
      if (now_ms - stream->heard_ms > silent_ms) silent.push_back(stream);
    }
  }
  for (const auto& stream : silent) {
    stream->End({grpc::StatusCode::UNAVAILABLE, "the device was not heard for too long"});
  }
}

void Relay::Stop() {
  std::map<DeviceId, std::shared_ptr<RelayStream>> streams;
  {
    absl::MutexLock lock(&mutex_);
    stopped_ = true;
    streams = streams_;
  }
  for (const auto& [device, stream] : streams) {
    stream->End({grpc::StatusCode::UNAVAILABLE, "the scheduler is stopping"});
  }
}

}  // namespace corpgrid::scheduler
