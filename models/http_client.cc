#include "models/http_client.h"

#include <curl/curl.h>

#include <algorithm>
#include <cctype>
#include <mutex>

#include "base/check.h"
#include "base/status_macros.h"
#include "base/version.h"
#include "fmt/format.h"

namespace corpgrid::models {
namespace {

constexpr size_t kMaxHeaders = 200;

std::string_view Trimmed(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) {
    text.remove_suffix(1);
  }
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) {
    text.remove_prefix(1);
  }
  return text;
}

struct ListFree {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using HeaderList = std::unique_ptr<curl_slist, ListFree>;

void Add(HeaderList* list, const std::string& line) {
  list->reset(curl_slist_append(list->release(), line.c_str()));
}

CURL* NewCurl() {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  return curl_easy_init();
}

template <typename Value>
void Set(CURL* curl, CURLoption option, Value value) {
  CHECK_INVARIANT(curl_easy_setopt(curl, option, value) == CURLE_OK);
}

// Hosts that are asked without a proxy: this machine, which a token may be sent to in the clear,
// and what the environment says.
std::string WithoutProxy() {
  const char* own = std::getenv("no_proxy");
  if (own == nullptr) own = std::getenv("NO_PROXY");
  return fmt::format("127.0.0.0/8,localhost,::1{}{}", own ? "," : "", own ? own : "");
}

}  // namespace

std::string HttpHead::Header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? "" : found->second;
}

// What libcurl's callbacks work on.
struct HttpClient::Transfer {
  const OnBody& on_body;
  const std::atomic<bool>* stop;
  HttpHead head;
  absl::Status status;  // of on_body

  static size_t OnHeader(char* data, size_t size, size_t count, void* self) {
    auto& head = static_cast<Transfer*>(self)->head;
    const std::string_view line(data, size * count);
    const size_t colon = line.find(':');
    if (line.starts_with("HTTP/")) {
      head = HttpHead();  // of an interim answer
      const size_t code = line.find(' ');
      head.status = code == std::string_view::npos ? 0 : std::atol(data + code);
    } else if (colon != std::string_view::npos && head.headers.size() < kMaxHeaders) {
      std::string name(line.substr(0, colon));
      std::transform(name.begin(), name.end(), name.begin(),
                     [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
      head.headers[name] = Trimmed(line.substr(colon + 1));
    }
    return size * count;
  }

  static size_t OnData(char* data, size_t size, size_t count, void* self) {
    auto& transfer = *static_cast<Transfer*>(self);
    if (transfer.head.status / 100 != 2) return size * count;  // a page for people
    transfer.status = transfer.on_body(transfer.head, {data, size * count});
    return transfer.status.ok() ? size * count : 0;
  }

  static int OnProgress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    const auto* stop = static_cast<Transfer*>(self)->stop;
    return stop != nullptr && *stop ? 1 : 0;
  }
};

HttpClient::HttpClient(HttpLimits limits, const std::atomic<bool>* stop)
    : limits_(limits), stop_(stop), curl_(NewCurl()) {
  CHECK_INVARIANT(curl_ != nullptr);
}

HttpClient::~HttpClient() { curl_easy_cleanup(curl_); }

absl::StatusOr<HttpHead> HttpClient::Send(const HttpRequest& request, const OnBody& on_body) {
  RETURN_IF_ERROR(CheckUrl(request.url));
  Transfer transfer = {.on_body = on_body, .stop = stop_, .head = {}, .status = {}};
  HeaderList headers;
  if (!request.bearer.empty()) Add(&headers, "Authorization: Bearer " + request.bearer);
  if (request.from > 0) Add(&headers, fmt::format("Range: bytes={}-", request.from));
  if (!request.if_unchanged.empty()) Add(&headers, "If-Range: " + request.if_unchanged);

  curl_easy_reset(curl_);  // the connections stay
  Set(curl_, CURLOPT_URL, request.url.c_str());
  Set(curl_, CURLOPT_PROTOCOLS_STR, "http,https");
  Set(curl_, CURLOPT_NOPROXY, WithoutProxy().c_str());
  Set(curl_, CURLOPT_USERAGENT, fmt::format("corpgrid/{}", kVersion).c_str());
  Set(curl_, CURLOPT_HTTPHEADER, headers.get());
  Set(curl_, CURLOPT_NOBODY, request.head_only ? 1L : 0L);
  Set(curl_, CURLOPT_NOSIGNAL, 1L);
  Set(curl_, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(limits_.connect_ms));
  Set(curl_, CURLOPT_LOW_SPEED_LIMIT, 1L);
  Set(curl_, CURLOPT_LOW_SPEED_TIME, static_cast<long>((limits_.stall_ms + 999) / 1000));
  Set(curl_, CURLOPT_BUFFERSIZE, 256L << 10);
  Set(curl_, CURLOPT_HEADERFUNCTION, Transfer::OnHeader);
  Set(curl_, CURLOPT_HEADERDATA, &transfer);
  Set(curl_, CURLOPT_WRITEFUNCTION, Transfer::OnData);
  Set(curl_, CURLOPT_WRITEDATA, &transfer);
  Set(curl_, CURLOPT_NOPROGRESS, 0L);
  Set(curl_, CURLOPT_XFERINFOFUNCTION, Transfer::OnProgress);
  Set(curl_, CURLOPT_XFERINFODATA, &transfer);
  const CURLcode code = curl_easy_perform(curl_);
  Set<curl_slist*>(curl_, CURLOPT_HTTPHEADER, nullptr);
  if (!transfer.status.ok()) return transfer.status;
  const std::string where = OriginOf(request.url);
  switch (code) {
    case CURLE_OK:
      return transfer.head;
    case CURLE_ABORTED_BY_CALLBACK:
      return absl::CancelledError("stopped");
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
      return absl::FailedPreconditionError(fmt::format(
          "the certificate of {} is not trusted: {}; where a company's proxy looks into TLS, its "
          "authority has to be in this system's store (update-ca-certificates)",
          where, curl_easy_strerror(code)));
    default:
      return absl::UnavailableError(fmt::format("{}: {}", where, curl_easy_strerror(code)));
  }
}

}  // namespace corpgrid::models
