#pragma once

#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <memory>
#include <optional>
#include <string>

#include "http/router.h"
#include "http/server.h"

namespace corpgrid::http {

// A client's connection, one request after the other. All on its socket's strand.
class Connection final : public Exchange, public std::enable_shared_from_this<Connection> {
 public:
  // `options` and `router` outlive it.
  Connection(boost::asio::ip::tcp::socket socket, const Options* options, const Router* router);

  // Until the connection is over. A shared pointer to it has to be kept meanwhile.
  Task<void> Run();

  // From any thread: after the answer that is being given, if any, the connection ends; with `now`
  // at once.
  void Close(bool now);

  // Answers with this if that can be done at once, and closes; instead of Run().
  void Refuse(const Response& response);

  const Request& request() const override { return request_; }
  Task<void> Send(Response response) override;
  Task<void> BeginEvents(Headers headers) override;
  Task<void> SendEvent(std::string_view name, std::string_view data) override;
  Task<void> EndEvents() override;
  bool began() const override { return began_; }

 private:
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;

  Task<bool> ReadRequest();
  Task<bool> ReadBody(Parser* parser);
  bool Accept(Parser* parser);
  Task<void> Answer();
  Task<void> Handle(const Handler* handler);
  Task<void> WatchWhileHandled();
  Task<void> SendError(unsigned status, std::string message);
  Task<void> Write(std::string bytes);
  Task<void> Drain();
  std::string Head(unsigned status, std::string_view content_type, const Headers& headers) const;
  // All of it as it is sent.
  std::string Bytes(const Response& response) const;
  // Closes the socket when what follows takes longer; 0: it may take for ever.
  void SetDeadline(boost::asio::steady_timer* timer, int64_t ms);

  boost::asio::ip::tcp::socket socket_;
  const Options* const options_;
  const Router* const router_;
  boost::asio::steady_timer read_deadline_, write_deadline_;
  boost::asio::steady_timer handled_;  // is cancelled when the handler is done
  boost::asio::cancellation_signal cancel_;
  boost::beast::flat_buffer buffer_;
  Request request_;
  unsigned refused_status_ = 0;  // why the request does not get to a handler
  std::string refused_;
  Headers refused_headers_;
  std::optional<Response> turned_away_;  // by the doorkeeper
  bool http_1_0_ = false;
  bool keep_alive_ = true;
  bool began_ = false;
  bool ended_ = false;     // the answer
  bool handling_ = false;  // a handler works
  bool closing_ = false;
};

}  // namespace corpgrid::http
