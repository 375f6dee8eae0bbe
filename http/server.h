#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "http/router.h"

namespace corpgrid::http {

struct Limits {
  size_t connections = 1024;  // at once; one more hears 503
  size_t header_bytes = 16 << 10;
  size_t body_bytes = 8 << 20;
  int64_t idle_ms = 75'000;    // between the requests of a connection
  int64_t header_ms = 15'000;  // from the first byte of a request to the end of its head
  int64_t body_ms = 60'000;    // for the body
  int64_t write_ms = 60'000;   // for each part of an answer
};

// Says an error of the server's own (no such path, too large, too slow) in the API's form.
using ErrorBody = std::function<std::string(unsigned status, std::string_view message)>;

// Looks at a request before its body is read: what it returns is the answer, and ends the
// connection. Nothing: the request goes on to its handler.
using Doorkeeper = std::function<std::optional<Response>(const Request& head)>;

struct Options {
  std::string address = "127.0.0.1";  // an IP address
  uint16_t port = 0;                  // 0 picks one
  unsigned threads = 2;
  Limits limits = {};
  ErrorBody error_body;
  Doorkeeper doorkeeper = {};  // empty: all go on
};

// HTTP/1.1 on Boost.Beast: each connection is a coroutine on a strand of its own, on a few threads.
// While a handler works, the connection goes on reading; when the client closes it, or only its
// sending half, the handler is cancelled at once. What comes early of the next request waits, up to
// 64 KiB. No CORS: browsers keep other sites' pages out. Any thread.
class Server {
 public:
  // Listens and answers when it returns. Errors: InvalidArgument for what is no address,
  // Unavailable with the system's reason.
  static absl::StatusOr<std::unique_ptr<Server>> Start(Options options, Router router);
  // Stop(0).
  virtual ~Server() = default;

  virtual uint16_t port() const = 0;

  // Takes no more connections and requests; requests that are being answered have `grace_ms`. All
  // is over when it returns. Not on a handler. Again does nothing.
  virtual void Stop(int64_t grace_ms) = 0;

  virtual size_t connections() const = 0;
};

}  // namespace corpgrid::http
