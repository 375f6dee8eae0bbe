#include "models/fetch.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <optional>
#include <random>
#include <thread>

#include "base/backoff.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "fmt/format.h"

namespace corpgrid::models {
namespace {

constexpr int kMaxRedirects = 8;
constexpr std::string_view kMagic = "GGUF";

std::optional<uint64_t> Number(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return value;
}

bool IsRedirect(long status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

// An address that is signed is signed for one method, GET; and some servers know no HEAD.
bool MayBeForGetOnly(const Source& source, long status) {
  return source.kind == Source::Kind::kUrl && (status == 403 || status == 405 || status == 501);
}

// "ab12" of "\"ab12\"" and of "W/\"ab12\"".
std::string Unquoted(std::string text) {
  if (text.starts_with("W/")) text.erase(0, 2);
  std::erase(text, '"');
  return text;
}

// What an answer asks to be left alone for; a date counts as a while.
int64_t WaitAskedFor(const HttpHead& head) {
  constexpr int64_t kWhileMs = 5'000;
  if (head.status != 429 && head.status != 503) return 0;
  const std::string after = head.Header("retry-after");
  const std::optional<uint64_t> seconds = Number(after);
  if (seconds && *seconds < 1'000'000)
    return std::max<int64_t>(1, static_cast<int64_t>(*seconds) * 1000);
  return head.status == 429 || !after.empty() ? kWhileMs : 0;
}

// A body's place in the file, and the whole file's size where the server says it.
struct Extent {
  uint64_t from = 0;
  std::optional<uint64_t> total;
};

// 10 of "bytes 5-9/10" and of "bytes */10".
std::optional<uint64_t> TotalIn(std::string_view content_range) {
  const size_t slash = content_range.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  return Number(content_range.substr(slash + 1));
}

absl::StatusOr<Extent> ExtentOf(const HttpHead& head) {
  if (head.status == 200) return Extent{0, Number(head.Header("content-length"))};
  const std::string range = head.Header("content-range");  // "bytes 5-9/10"
  const std::string_view text = range;
  const size_t dash = text.find('-');
  if (head.status == 206 && text.starts_with("bytes ") && dash != std::string_view::npos &&
      text.find('/') != std::string_view::npos) {
    const std::optional<uint64_t> from = Number(text.substr(6, dash - 6));
    if (from) return Extent{*from, TotalIn(text)};
  }
  return absl::UnavailableError(
      fmt::format("the server answers {} with a Content-Range of \"{}\"", head.status, range));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Fetcher>> Fetcher::Make(Options options) {
  RETURN_IF_ERROR(CheckUrl(options.hub));
  while (options.hub.ends_with('/')) options.hub.pop_back();
  if (!std::all_of(options.token.begin(), options.token.end(),
                   [](char c) { return c > ' ' && c < 127; })) {
    return absl::InvalidArgumentError("the token has characters that no token has");
  }
  return std::unique_ptr<Fetcher>(new Fetcher(std::move(options)));
}

absl::StatusOr<HttpHead> Fetcher::Follow(const Source& source, HttpRequest request,
                                         const HttpClient::OnBody& on_body) {
  const std::string hub = OriginOf(options_.hub);
  request.url = source.Url(options_.hub);
  std::map<std::string, std::string> said;  // by the hub, on the way
  for (int hop = 0; hop <= kMaxRedirects; ++hop) {
    const bool at_hub = OriginOf(request.url) == hub;
    request.bearer = at_hub ? options_.token : "";
    ASSIGN_OR_RETURN(HttpHead head, http_.Send(request, on_body));
    for (const char* name : {"x-linked-size", "x-linked-etag", "x-repo-commit"}) {
      if (const std::string value = head.Header(name); at_hub && !value.empty()) said[name] = value;
    }
    if (!IsRedirect(head.status)) {
      for (const auto& [name, value] : said) head.headers[name] = value;
      asked_wait_ms_ = WaitAskedFor(head);
      if (request.head_only && MayBeForGetOnly(source, head.status)) return head;
      RETURN_IF_ERROR(StatusOf(source, head));
      return head;
    }
    // The address behind it may be good for GET only.
    if (request.head_only && said.contains("x-linked-size")) {
      head.headers.insert(said.begin(), said.end());
      return head;
    }
    const std::string next = ResolveUrl(request.url, head.Header("location"));
    if (next.empty() || (request.url.starts_with("https:") && !next.starts_with("https:"))) {
      return absl::FailedPreconditionError(fmt::format("{} redirects to {}, which is not followed",
                                                       WithoutQuery(request.url),
                                                       next.empty() ? "nowhere" : OriginOf(next)));
    }
    request.url = next;
  }
  return absl::FailedPreconditionError(
      fmt::format("{} redirects more than {} times", source.Page(options_.hub), kMaxRedirects));
}

absl::Status Fetcher::StatusOf(const Source& source, const HttpHead& head) const {
  const std::string page = source.Page(options_.hub);
  const bool hub = source.kind == Source::Kind::kHub;
  const std::string code = head.Header("x-error-code");
  if (head.status / 100 == 2 || head.status == 416) return absl::OkStatus();
  if (head.status == 401 && options_.token.empty()) {
    return absl::PermissionDeniedError(fmt::format(
        "{} needs a token (401), or does not exist{}; give the token with HF_TOKEN or --token "
        "@FILE",
        page, hub ? ": open the page, agree to its terms if it asks, make a token" : ""));
  }
  if (head.status == 401) {
    return absl::PermissionDeniedError(fmt::format(
        "{} does not accept this token (401): is it expired, or of another hub?", page));
  }
  if (head.status == 403) {
    return absl::PermissionDeniedError(fmt::format(
        "{} does not let you in (403){}", page,
        hub ? ": the repository is gated; ask for access on its page, and see that the token may "
              "read gated repositories"
            : ""));
  }
  if (head.status == 404 || head.status == 410) {
    return absl::NotFoundError(
        !hub ? fmt::format("there is nothing at {} ({})", page, head.status)
        : code == "RepoNotFound"
            ? fmt::format("there is no repository {}", page)
            : fmt::format("there is no {} at {} (revision {}); its page lists the files",
                          source.path, page, source.revision));
  }
  if (head.status == 429) {
    return absl::ResourceExhaustedError(
        fmt::format("{} was asked too often (429){}", OriginOf(source.Url(options_.hub)),
                    options_.token.empty() ? "; with a token (HF_TOKEN) more is allowed" : ""));
  }
  if (head.status >= 500 || head.status == 408) {
    return absl::UnavailableError(fmt::format("{} answers {}", page, head.status));
  }
  return absl::FailedPreconditionError(fmt::format("{} answers {}", page, head.status));
}

absl::Status Fetcher::Wait(int64_t ms) const {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
  while (std::chrono::steady_clock::now() < end) {
    if (options_.stop != nullptr && *options_.stop) return absl::CancelledError("stopped");
    std::this_thread::sleep_for(std::chrono::milliseconds(std::min<int64_t>(ms, 50)));
  }
  return absl::OkStatus();
}

absl::Status Fetcher::Retrying(const std::function<absl::Status()>& attempt,
                               const std::function<uint64_t()>& bytes) {
  Backoff backoff(std::random_device{}());
  uint64_t most = bytes();
  for (int tries = 1;; ++tries) {
    asked_wait_ms_ = 0;
    absl::Status status = attempt();
    const bool busy = status.code() == absl::StatusCode::kResourceExhausted && asked_wait_ms_ > 0;
    if (status.code() != absl::StatusCode::kUnavailable && !busy) return status;
    if (bytes() > most) {
      most = bytes();
      tries = 1;
      backoff.Reset();
    }
    if (tries >= options_.max_tries || asked_wait_ms_ > options_.max_wait_ms) {
      const std::string hint =
          asked_wait_ms_ > 0
              ? fmt::format("; try again in {}", FormatDuration(asked_wait_ms_))
              : fmt::format(" ({} tries); the same command goes on from here", tries);
      return absl::Status(status.code(), fmt::format("{}{}", std::string(status.message()), hint));
    }
    RETURN_IF_ERROR(Wait(std::max(backoff.NextMs(), asked_wait_ms_)));
  }
}

absl::StatusOr<RemoteFile> Fetcher::Look(const Source& source) {
  RemoteFile remote = {.source = source, .bytes = 0, .sha256 = {}, .commit = {}};
  const auto look = [&]() -> absl::Status {
    HttpRequest request;
    request.head_only = true;
    absl::StatusOr<HttpHead> head =
        Follow(source, request, [](const HttpHead&, std::string_view) { return absl::OkStatus(); });
    if (!head.ok()) return head.status();
    // Its length is that of a page for people.
    if (MayBeForGetOnly(source, head->status)) return absl::OkStatus();
    const bool linked = !head->Header("x-linked-size").empty();
    remote.bytes = Number(head->Header(linked ? "x-linked-size" : "content-length")).value_or(0);
    const std::string hash = Unquoted(head->Header("x-linked-etag"));
    remote.sha256 = IsSha256(hash) ? hash : "";
    remote.commit = head->Header("x-repo-commit");
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(Retrying(look, [] { return uint64_t{0}; }));
  return remote;
}

absl::Status Fetcher::TryOnce(const RemoteFile& remote, StagedFile* file,
                              const std::function<void(uint64_t bytes)>& on_progress) {
  HttpRequest request;
  // What is there is of the file that the hub's hash names, or that the ETag says; or of no use.
  const std::string by_hash = remote.sha256.empty() ? "" : "sha256:" + remote.sha256;
  const bool same_hash = !by_hash.empty() && file->origin() == by_hash;
  const bool has_etag = by_hash.empty() && file->origin().starts_with('"');
  if (file->bytes() > 0 && (same_hash || has_etag)) {
    request.from = file->bytes();
    request.if_unchanged = has_etag ? file->origin() : "";
  }
  bool begun = false;
  std::optional<uint64_t> total;
  const auto on_body = [&](const HttpHead& head, std::string_view bytes) -> absl::Status {
    if (!begun) {
      begun = true;
      ASSIGN_OR_RETURN(const Extent extent, ExtentOf(head));
      total = extent.total;
      if (extent.from == 0) {
        const std::string etag = head.Header("etag");
        RETURN_IF_ERROR(file->Restart(!by_hash.empty()        ? by_hash
                                      : etag.starts_with('"') ? etag
                                                              : ""));
      } else if (extent.from != file->bytes()) {
        return absl::UnavailableError("the server sends another part than it was asked for");
      }
      if (remote.bytes > 0 && total && *total != remote.bytes) {
        return absl::DataLossError(
            fmt::format("the server has {} bytes of {}, which should have {}", *total, file->name(),
                        remote.bytes));
      }
    }
    if (file->bytes() == 0 && !bytes.starts_with(kMagic.substr(0, bytes.size()))) {
      return absl::InvalidArgumentError(
          fmt::format("{} is no GGUF file", WithoutQuery(remote.source.Url(options_.hub))));
    }
    const uint64_t most = remote.bytes > 0 ? remote.bytes : total.value_or(UINT64_MAX);
    if (file->bytes() + bytes.size() > most) {
      return absl::DataLossError(
          fmt::format("the server sends more than the {} bytes of {}", most, file->name()));
    }
    RETURN_IF_ERROR(file->Append(bytes));
    on_progress(file->bytes());
    return absl::OkStatus();
  };
  ASSIGN_OR_RETURN(const HttpHead head, Follow(remote.source, request, on_body));
  if (head.status == 416) {  // there is nothing from there on
    const uint64_t whole =
        remote.bytes > 0 ? remote.bytes : TotalIn(head.Header("content-range")).value_or(0);
    if (whole > 0 && file->bytes() == whole) return absl::OkStatus();
    RETURN_IF_ERROR(file->Restart(""));
    return absl::UnavailableError("the server has no such part of the file");
  }
  if (!begun) return absl::UnavailableError("the server sends nothing");
  const uint64_t wanted = remote.bytes > 0 ? remote.bytes : total.value_or(file->bytes());
  if (file->bytes() < wanted) {
    return absl::UnavailableError(
        fmt::format("the connection ended after {} of {} bytes", file->bytes(), wanted));
  }
  return absl::OkStatus();
}

absl::StatusOr<StoredFile> Fetcher::Fetch(const RemoteFile& remote, const std::string& sha256,
                                          StagedFile* file,
                                          const std::function<void(uint64_t)>& on_progress) {
  const std::string expected = sha256.empty() ? remote.sha256 : sha256;
  if (file->finished() && (expected.empty() || file->file().sha256 == expected)) {
    on_progress(file->bytes());
    return file->file();
  }
  if (file->finished()) RETURN_IF_ERROR(file->Restart(""));
  const bool went_on = file->bytes() > 0;
  for (int turn = 0;; ++turn) {
    const bool whole = remote.bytes > 0 && file->bytes() == remote.bytes && !remote.sha256.empty();
    if (!whole) {
      RETURN_IF_ERROR(Retrying([&] { return TryOnce(remote, file, on_progress); },
                               [&] { return file->bytes(); }));
    }
    absl::StatusOr<StoredFile> stored = file->Finish(remote.bytes, expected);
    // What an earlier try left may have been damaged since.
    if (stored.status().code() != absl::StatusCode::kDataLoss || !went_on || turn > 0) {
      return stored;
    }
  }
}

}  // namespace corpgrid::models
