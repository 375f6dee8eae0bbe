#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace corpgrid::http {

// What a coroutine that answers a request is. It runs on its connection's strand. When the client
// goes it is cancelled: what it waits for throws boost::system::system_error, which it lets pass.
//
// What is built with braces is given a name before a co_await that takes it: gcc 12 destroys such
// temporaries twice (`co_await exchange.Send({.status = 404})` frees what it does not own).
template <typename T>
using Task = boost::asio::awaitable<T>;

using Headers = std::vector<std::pair<std::string, std::string>>;

struct Request {
  std::string id;  // ours, for logs; the client hears it as X-Request-Id
  std::string method;
  std::string path;  // decoded, without the query
  std::string body;
  Headers headers;
  std::string parameter;  // what stood for the "{…}" of the route

  // The first header of that name, in whatever case; empty: none.
  std::string_view Header(std::string_view name) const;
};

struct Response {
  unsigned status = 200;
  std::string body;
  std::string content_type = "application/json";
  Headers headers = {};
};

// A request while it is answered: by Send(), or by BeginEvents(), SendEvent()… and EndEvents(). On
// the coroutine of its handler only. All end with an exception when the client is gone or too slow.
class Exchange {
 public:
  virtual ~Exchange() = default;

  virtual const Request& request() const = 0;

  virtual Task<void> Send(Response response) = 0;

  // Server-sent events. `data` of an event has no line break.
  virtual Task<void> BeginEvents(Headers headers) = 0;
  // `name`: of the event; empty: none.
  virtual Task<void> SendEvent(std::string_view name, std::string_view data) = 0;
  virtual Task<void> EndEvents() = 0;

  // Whether something was sent: an error can then no longer be a status.
  virtual bool began() const = 0;
};

}  // namespace corpgrid::http
