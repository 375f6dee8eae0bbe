#include "http/connection.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/status.hpp>
#include <chrono>
#include <utility>

#include "crypto/signature.h"
#include "fmt/format.h"
#include "spdlog/spdlog.h"

namespace corpgrid::http {
namespace {

namespace asio = boost::asio;
namespace bhttp = boost::beast::http;

constexpr size_t kReadAheadBytes = 64 << 10;
constexpr size_t kDrainBytes = 16 << 20;
constexpr int64_t kDrainMs = 2000;
constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);

std::string NewRequestId() {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string id = "req_";
  for (const unsigned char byte : crypto::RandomBytes(12)) {
    id += kDigits[byte >> 4];
    id += kDigits[byte & 15];
  }
  return id;
}

}  // namespace

Connection::Connection(asio::ip::tcp::socket socket, const Options* options, const Router* router)
    : socket_(std::move(socket)),
      options_(options),
      router_(router),
      read_deadline_(socket_.get_executor()),
      write_deadline_(socket_.get_executor()),
      handled_(socket_.get_executor()),
      buffer_(options->limits.header_bytes + kReadAheadBytes) {}

void Connection::SetDeadline(asio::steady_timer* timer, int64_t ms) {
  timer->expires_at(asio::steady_timer::time_point::max());
  if (ms == 0) return;
  timer->expires_after(std::chrono::milliseconds(ms));
  timer->async_wait([weak = weak_from_this(), timer](boost::system::error_code error) {
    const auto self = weak.lock();
    // It may have been set anew when this was on its way already.
    if (error || !self || timer->expiry() > asio::steady_timer::clock_type::now()) return;
    boost::system::error_code ignored;
    self->socket_.close(ignored);
  });
}

void Connection::Close(bool now) {
  asio::post(socket_.get_executor(), [self = shared_from_this(), now] {
    self->closing_ = true;
    boost::system::error_code ignored;
    if (self->handling_ && now) self->cancel_.emit(asio::cancellation_type::terminal);
    if (!self->handling_ || now) self->socket_.close(ignored);
  });
}

void Connection::Refuse(const Response& response) {
  request_.id = NewRequestId();
  keep_alive_ = false;
  const std::string bytes = Bytes(response);
  boost::system::error_code ignored;
  socket_.non_blocking(true, ignored);
  socket_.write_some(asio::buffer(bytes), ignored);
  socket_.shutdown(asio::ip::tcp::socket::shutdown_both, ignored);
  socket_.close(ignored);
}

Task<void> Connection::Run() {
  boost::system::error_code ignored;
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  try {
    while (!closing_ && co_await ReadRequest()) {
      co_await Answer();
      if (!keep_alive_) break;
    }
    if ((refused_status_ != 0 || turned_away_) && socket_.is_open()) co_await Drain();
  } catch (const boost::system::system_error&) {
    // The client is gone, or was too slow.
  }
  read_deadline_.cancel();
  write_deadline_.cancel();
  socket_.shutdown(asio::ip::tcp::socket::shutdown_both, ignored);
  socket_.close(ignored);
}

// False when there is no further request.
Task<bool> Connection::ReadRequest() {
  request_ = Request();
  refused_status_ = 0;
  refused_headers_.clear();
  turned_away_.reset();
  began_ = ended_ = false;
  if (buffer_.size() == 0) {
    SetDeadline(&read_deadline_, options_->limits.idle_ms);
    const auto [error, bytes] = co_await socket_.async_read_some(buffer_.prepare(4096), kTuple);
    if (error) co_return false;
    buffer_.commit(bytes);
  }
  request_.id = NewRequestId();
  SetDeadline(&read_deadline_, options_->limits.header_ms);
  Parser parser;
  parser.header_limit(static_cast<uint32_t>(options_->limits.header_bytes));
  parser.body_limit(options_->limits.body_bytes);
  const auto [error, bytes] = co_await bhttp::async_read_header(socket_, buffer_, parser, kTuple);
  if (error && error.category() != bhttp::make_error_code(bhttp::error::bad_method).category()) {
    co_return false;
  }
  if (error == bhttp::error::end_of_stream || error == bhttp::error::partial_message) {
    co_return false;
  }
  if (error == bhttp::error::header_limit || error == bhttp::error::buffer_overflow) {
    refused_status_ = 431;
    refused_ = fmt::format("the head of the request has more than {} bytes",
                           options_->limits.header_bytes);
  } else if (error == bhttp::error::body_limit) {
    refused_status_ = 413;
  } else if (error) {
    refused_status_ = 400;
    refused_ = fmt::format("this is no HTTP request: {}", error.message());
  } else if (Accept(&parser)) {
    if (options_->doorkeeper) turned_away_ = options_->doorkeeper(request_);
    if (!turned_away_) co_return co_await ReadBody(&parser);
  }
  keep_alive_ = false;
  co_return true;
}

// Takes over the head. False: its connection cannot be used any more.
bool Connection::Accept(Parser* parser) {
  const auto& head = parser->get();
  http_1_0_ = head.version() < 11;
  keep_alive_ = head.keep_alive();
  request_.method = std::string(head.method_string());
  const std::string target(head.target());
  std::optional<std::string> path = DecodePath(target.substr(0, target.find('?')));
  if (!path) {
    refused_status_ = 400;
    refused_ = "the path has a broken % sequence";
    return false;
  }
  request_.path = *std::move(path);
  for (const auto& field : head) {
    request_.headers.emplace_back(std::string(field.name_string()), std::string(field.value()));
  }
  return true;
}

Task<bool> Connection::ReadBody(Parser* parser) {
  SetDeadline(&read_deadline_, options_->limits.body_ms);
  if (request_.Header("Expect") == "100-continue" && !parser->is_done()) {
    co_await Write("HTTP/1.1 100 Continue\r\n\r\n");
  }
  const auto [error, bytes] = co_await bhttp::async_read(socket_, buffer_, *parser, kTuple);
  SetDeadline(&read_deadline_, 0);
  if (error == bhttp::error::body_limit) {
    refused_status_ = 413;
  } else if (error &&
             error.category() == bhttp::make_error_code(bhttp::error::bad_method).category() &&
             error != bhttp::error::partial_message) {
    refused_status_ = 400;
    refused_ = fmt::format("the body cannot be read: {}", error.message());
  } else if (error) {
    co_return false;
  }
  if (refused_status_ != 0) keep_alive_ = false;
  request_.body = std::move(parser->get().body());
  co_return true;
}

Task<void> Connection::Answer() {
  SetDeadline(&read_deadline_, 0);
  if (refused_status_ == 413) {
    refused_ = fmt::format("the body has more than {} bytes", options_->limits.body_bytes);
  }
  if (refused_status_ != 0) {
    co_await SendError(refused_status_, refused_);
    co_return;
  }
  if (turned_away_) {
    co_await Send(*std::move(turned_away_));
    co_return;
  }
  Router::Found found = router_->Find(request_.method, request_.path);
  if (found.handler == nullptr && !found.allowed.empty()) {
    refused_headers_ = {{"Allow", found.allowed}};
    co_await SendError(
        405, fmt::format("{} takes {}, not {}", request_.path, found.allowed, request_.method));
  } else if (found.handler == nullptr) {
    co_await SendError(404, fmt::format("there is no {}", request_.path));
  } else {
    request_.parameter = std::move(found.parameter);
    co_await Handle(found.handler);
  }
}

Task<void> Connection::Handle(const Handler* handler) {
  handling_ = true;
  handled_.expires_at(asio::steady_timer::time_point::max());
  bool failed = false;
  const auto done = [this, self = shared_from_this(), &failed](const std::exception_ptr& error) {
    handling_ = false;
    try {
      if (error) std::rethrow_exception(error);
    } catch (const boost::system::system_error&) {
      failed = true;  // the client is gone
    } catch (const std::exception& unexpected) {
      spdlog::error("{} {} {}: {}", request_.id, request_.method, request_.path, unexpected.what());
      failed = true;
    }
    handled_.cancel();
    boost::system::error_code ignored;
    socket_.cancel(ignored);  // ends the watch
  };
  // What a handler is given stays until `done`: this coroutine waits for it.
  asio::co_spawn(socket_.get_executor(), (*handler)(*this),
                 asio::bind_cancellation_slot(cancel_.slot(), done));
  co_await WatchWhileHandled();
  if (failed || !ended_) keep_alive_ = false;
}

// Reads what the client sends meanwhile, only to hear of it when it goes.
Task<void> Connection::WatchWhileHandled() {
  bool gone = false;
  while (handling_ && !gone && buffer_.size() < kReadAheadBytes) {
    const auto [error, bytes] = co_await socket_.async_read_some(buffer_.prepare(4096), kTuple);
    buffer_.commit(bytes);
    gone = static_cast<bool>(error);
  }
  if (!handling_) co_return;
  if (gone) {
    keep_alive_ = false;
    cancel_.emit(asio::cancellation_type::terminal);
  }
  while (handling_) co_await handled_.async_wait(kTuple);
}

std::string Connection::Head(unsigned status, std::string_view content_type,
                             const Headers& headers) const {
  std::string head = fmt::format(
      "HTTP/1.{} {} {}\r\nContent-Type: {}\r\nX-Request-Id: {}\r\n"
      "X-Content-Type-Options: nosniff\r\n",
      http_1_0_ ? 0 : 1, status,
      std::string(bhttp::obsolete_reason(static_cast<bhttp::status>(status))), content_type,
      request_.id);
  for (const auto& [name, value] : headers) head += fmt::format("{}: {}\r\n", name, value);
  if (!keep_alive_ || closing_) {
    head += "Connection: close\r\n";
  } else if (http_1_0_) {
    head += "Connection: keep-alive\r\n";
  }
  return head;
}

std::string Connection::Bytes(const Response& response) const {
  std::string bytes = Head(response.status, response.content_type, response.headers);
  // To HEAD it is the length that GET would get (RFC 9110, 8.6).
  bytes += fmt::format("Content-Length: {}\r\n\r\n", response.body.size());
  if (request_.method != "HEAD") bytes += response.body;
  return bytes;
}

Task<void> Connection::Send(Response response) {
  began_ = true;
  if (closing_) keep_alive_ = false;
  std::string bytes = Bytes(response);
  co_await Write(std::move(bytes));
  ended_ = true;
}

Task<void> Connection::SendError(unsigned status, std::string message) {
  Response response{
      .status = status, .body = options_->error_body(status, message), .headers = refused_headers_};
  co_await Send(std::move(response));
}

Task<void> Connection::BeginEvents(Headers headers) {
  began_ = true;
  if (closing_ || http_1_0_) keep_alive_ = false;
  headers.emplace_back("Cache-Control", "no-store");
  if (!http_1_0_) headers.emplace_back("Transfer-Encoding", "chunked");
  co_await Write(Head(200, "text/event-stream; charset=utf-8", headers) + "\r\n");
}

Task<void> Connection::SendEvent(std::string_view name, std::string_view data) {
  std::string event = name.empty() ? "" : fmt::format("event: {}\n", name);
  event += fmt::format("data: {}\n\n", data);
  if (http_1_0_) {
    co_await Write(std::move(event));
  } else {
    co_await Write(fmt::format("{:x}\r\n{}\r\n", event.size(), event));
  }
}

Task<void> Connection::EndEvents() {
  if (!http_1_0_) co_await Write("0\r\n\r\n");
  ended_ = true;
}

Task<void> Connection::Write(std::string bytes) {
  SetDeadline(&write_deadline_, options_->limits.write_ms);
  co_await asio::async_write(socket_, asio::buffer(bytes), asio::use_awaitable);
  SetDeadline(&write_deadline_, 0);
}

// A connection that is closed with bytes unread is reset, and the client may not see our answer.
Task<void> Connection::Drain() {
  boost::system::error_code ignored;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  SetDeadline(&read_deadline_, kDrainMs);
  std::string scrap(16 << 10, '\0');
  for (size_t read = 0; read < kDrainBytes;) {
    const auto [error, bytes] = co_await socket_.async_read_some(asio::buffer(scrap), kTuple);
    if (error) break;
    read += bytes;
  }
}

}  // namespace corpgrid::http
