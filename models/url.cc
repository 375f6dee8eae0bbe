// What libcurl itself takes URLs for: one parser for what is checked and what is done.

#include <arpa/inet.h>
#include <curl/curl.h>

#include <algorithm>
#include <cctype>
#include <optional>

#include "base/check.h"
#include "fmt/format.h"
#include "models/http_client.h"

namespace corpgrid::models {
namespace {

class Url {
 public:
  Url() : url_(curl_url()) { CHECK_INVARIANT(url_ != nullptr); }
  Url(const Url&) = delete;
  ~Url() { curl_url_cleanup(url_); }

  // A relative one is taken from where it was before.
  bool Set(const std::string& text) {
    return curl_url_set(url_, CURLUPART_URL, text.c_str(), 0) == CURLUE_OK;
  }

  std::optional<std::string> Get(CURLUPart part, unsigned flags = 0) const {
    char* text = nullptr;
    if (curl_url_get(url_, part, &text, flags) != CURLUE_OK) return std::nullopt;
    std::string value = text;
    curl_free(text);
    return value;
  }

  void Drop(CURLUPart part) { curl_url_set(url_, part, nullptr, 0); }

 private:
  CURLU* const url_;
};

bool IsLoopback(const std::string& host) {
  in_addr v4;
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
  return host == "[::1]" || host == "localhost";
}

}  // namespace

absl::Status CheckUrl(const std::string& text) {
  Url url;
  const bool plain =
      std::none_of(text.begin(), text.end(), [](unsigned char c) { return c <= ' ' || c == 127; });
  if (!plain || !url.Set(text) || !url.Get(CURLUPART_HOST)) {
    return absl::InvalidArgumentError(fmt::format("\"{}\" is no URL", text));
  }
  if (url.Get(CURLUPART_USER) || url.Get(CURLUPART_PASSWORD)) {
    return absl::InvalidArgumentError(
        "the URL has a user or a password in it; give a token with HF_TOKEN or --token @FILE");
  }
  const std::string scheme = url.Get(CURLUPART_SCHEME).value_or("");
  if (scheme == "https") return absl::OkStatus();
  if (scheme == "http" && IsLoopback(*url.Get(CURLUPART_HOST))) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("{} is not fetched: only https is, and http from this very machine (127.0.0.1)",
                  WithoutQuery(text)));
}

std::string OriginOf(const std::string& text) {
  Url url;
  if (!url.Set(text)) return "";
  const auto scheme = url.Get(CURLUPART_SCHEME), host = url.Get(CURLUPART_HOST);
  const auto port = url.Get(CURLUPART_PORT, CURLU_DEFAULT_PORT);
  std::string origin =
      scheme && host && port ? fmt::format("{}://{}:{}", *scheme, *host, *port) : "";
  std::transform(origin.begin(), origin.end(), origin.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return origin;
}

std::string ResolveUrl(const std::string& base, const std::string& reference) {
  Url url;
  return url.Set(base) && url.Set(reference) ? url.Get(CURLUPART_URL).value_or("") : "";
}

std::string PathOfUrl(const std::string& text) {
  Url url;
  return url.Set(text) ? url.Get(CURLUPART_PATH, CURLU_URLDECODE).value_or("") : "";
}

std::string WithoutQuery(const std::string& text) {
  Url url;
  if (!url.Set(text)) return text.substr(0, text.find('?'));
  for (const CURLUPart part :
       {CURLUPART_QUERY, CURLUPART_FRAGMENT, CURLUPART_USER, CURLUPART_PASSWORD}) {
    url.Drop(part);
  }
  return url.Get(CURLUPART_URL).value_or("");
}

}  // namespace corpgrid::models
