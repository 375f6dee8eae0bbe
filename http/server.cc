#include "http/server.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "fmt/format.h"
#include "http/connection.h"
#include "spdlog/spdlog.h"

namespace corpgrid::http {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

class BeastServer final : public Server {
 public:
  BeastServer(Options options, Router router)
      : options_(std::move(options)),
        router_(std::move(router)),
        context_(static_cast<int>(options_.threads)),
        acceptor_(asio::make_strand(context_)) {}

  ~BeastServer() override { Stop(0); }

  absl::Status Listen() {
    boost::system::error_code error;
    const asio::ip::address address = asio::ip::make_address(options_.address, error);
    if (error) {
      return absl::InvalidArgumentError(
          fmt::format("\"{}\" is no IP address to listen on; expected for example 127.0.0.1",
                      options_.address));
    }
    const tcp::endpoint endpoint(address, options_.port);
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
    if (error) {
      return absl::UnavailableError(fmt::format("cannot listen on {} port {}: {}", options_.address,
                                                options_.port, error.message()));
    }
    port_ = acceptor_.local_endpoint().port();
    asio::co_spawn(acceptor_.get_executor(), AcceptLoop(), asio::detached);
    for (unsigned i = 0; i < options_.threads; ++i) {
      threads_.emplace_back([this] { context_.run(); });
    }
    return absl::OkStatus();
  }

  uint16_t port() const override { return port_; }

  size_t connections() const override {
    absl::MutexLock lock(&mutex_);
    return connections_.size();
  }

  void Stop(int64_t grace_ms) override {
    absl::MutexLock stopping(&stopping_);
    if (threads_.empty()) return;
    asio::post(acceptor_.get_executor(), [this] {
      boost::system::error_code ignored;
      acceptor_.close(ignored);
    });
    CloseAll(/*now=*/false);
    Await(absl::Milliseconds(grace_ms));
    CloseAll(/*now=*/true);
    Await(absl::InfiniteDuration());
    context_.stop();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

 private:
  void CloseAll(bool now) {
    absl::MutexLock lock(&mutex_);
    stopped_ = true;
    for (const auto& connection : connections_) connection->Close(now);
  }

  void Await(absl::Duration most) {
    absl::MutexLock lock(&mutex_);
    const auto none = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return connections_.empty() && !accepting_;
    };
    mutex_.AwaitWithTimeout(absl::Condition(&none), most);
  }

  // False when there are too many, or the server stops.
  bool Register(const std::shared_ptr<Connection>& connection) {
    absl::MutexLock lock(&mutex_);
    if (stopped_ || connections_.size() >= options_.limits.connections) return false;
    connections_.insert(connection);
    return true;
  }

  Task<void> AcceptLoop() {
    while (acceptor_.is_open()) {
      auto [error, socket] = co_await acceptor_.async_accept(asio::make_strand(context_),
                                                             asio::as_tuple(asio::use_awaitable));
      if (!error) {
        Begin(std::move(socket));
      } else if (acceptor_.is_open()) {
        spdlog::warn("cannot accept a connection: {}", error.message());
        asio::steady_timer pause(acceptor_.get_executor(), std::chrono::milliseconds(100));
        co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
      }
    }
    absl::MutexLock lock(&mutex_);
    accepting_ = false;
  }

  void Begin(asio::basic_stream_socket<tcp, asio::strand<asio::io_context::executor_type>> raw) {
    tcp::socket socket(std::move(raw));
    const auto executor = socket.get_executor();
    auto connection = std::make_shared<Connection>(std::move(socket), &options_, &router_);
    if (!Register(connection)) {
      Refuse(connection);
      return;
    }
    asio::co_spawn(executor, connection->Run(), [this, connection](const std::exception_ptr&) {
      absl::MutexLock lock(&mutex_);
      connections_.erase(connection);
    });
  }

  // Too many: says so if that can be done at once.
  void Refuse(const std::shared_ptr<Connection>& connection) {
    connection->Refuse({.status = 503,
                        .body = options_.error_body(503, "too many connections; try again later"),
                        .headers = {{"Retry-After", "1"}}});
  }

  const Options options_;
  const Router router_;
  asio::io_context context_;
  tcp::acceptor acceptor_;
  uint16_t port_ = 0;
  std::vector<std::thread> threads_;
  absl::Mutex stopping_;
  mutable absl::Mutex mutex_;
  std::set<std::shared_ptr<Connection>> connections_ ABSL_GUARDED_BY(mutex_);
  bool accepting_ ABSL_GUARDED_BY(mutex_) = true;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(Options options, Router router) {
  auto server = std::make_unique<BeastServer>(std::move(options), std::move(router));
  if (absl::Status status = server->Listen(); !status.ok()) return status;
  return server;
}

}  // namespace corpgrid::http
