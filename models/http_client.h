#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

typedef void CURL;

namespace corpgrid::models {

struct HttpRequest {
  std::string url;
  bool head_only = false;
  std::string bearer;        // a token; empty: none
  uint64_t from = 0;         // asks for the bytes from there on
  std::string if_unchanged;  // only if the file still has this ETag, else all of it
};

struct HttpHead {
  long status = 0;
  std::map<std::string, std::string> headers;  // names in lower case

  // An absent header is the empty string.
  std::string Header(const std::string& name) const;
};

struct HttpLimits {
  int64_t connect_ms = 20'000;
  int64_t stall_ms = 60'000;  // without a byte
};

// Single requests by libcurl: https, and http to this very machine. It follows no redirects: where
// a token may go is for the caller to say. One thread.
class HttpClient {
 public:
  // `stop` ends a transfer when it becomes true; it must outlive the client, null: never.
  HttpClient(HttpLimits limits, const std::atomic<bool>* stop);
  ~HttpClient();

  // Takes the next bytes of a 2xx answer's body; what it returns other than OK ends the transfer
  // and is returned.
  using OnBody = std::function<absl::Status(const HttpHead& head, std::string_view bytes)>;

  // Any status code is an answer. Errors: Unavailable when the connection fails or breaks,
  // Cancelled when stopped, FailedPrecondition when the server's certificate is not trusted,
  // InvalidArgument for a URL that CheckUrl() refuses.
  absl::StatusOr<HttpHead> Send(const HttpRequest& request, const OnBody& on_body);

 private:
  struct Transfer;

  const HttpLimits limits_;
  const std::atomic<bool>* const stop_;
  CURL* const curl_;
};

// OK for an https URL, and for an http one of 127.0.0.0/8, ::1 or localhost, without a user or a
// password. Errors: InvalidArgument saying what is wrong with it.
absl::Status CheckUrl(const std::string& url);

// Scheme, host and port, "https://hub.example:443"; the empty string for what is no URL.
std::string OriginOf(const std::string& url);

// What `reference` (a Location) means on the page of `base`; the empty string for no URL.
std::string ResolveUrl(const std::string& base, const std::string& reference);

// The URL's path, decoded.
std::string PathOfUrl(const std::string& url);

// The URL without its query, which may hold a signature; for messages.
std::string WithoutQuery(const std::string& url);

}  // namespace corpgrid::models
