#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "models/http_client.h"
#include "models/source.h"
#include "models/staged_file.h"

namespace corpgrid::models {

// What a server says of a file before it is fetched.
struct RemoteFile {
  Source source;
  uint64_t bytes = 0;  // 0: it does not say
  std::string sha256;  // empty: it does not say
  std::string commit;  // of the repository; empty: it does not say
};

// Fetches files over HTTP, as model hubs serve them: through redirects to other hosts, in as many
// pieces as it takes. One thread.
class Fetcher {
 public:
  struct Options {
    std::string hub = kDefaultHub;
    std::string token;  // goes to the hub, and to no other host; empty: none
    HttpLimits limits = {};
    int max_tries = 6;                        // in a row without a byte
    int64_t max_wait_ms = 120'000;            // that a server may ask for between two
    const std::atomic<bool>* stop = nullptr;  // ends it when true
  };

  // Errors: InvalidArgument for a hub that CheckUrl() refuses, or a token that is none.
  static absl::StatusOr<std::unique_ptr<Fetcher>> Make(Options options);

  // Of a plain URL where HEAD is refused nothing is known before it is fetched.
  //
  // Errors of both, beside those of HttpClient::Send(): NotFound, PermissionDenied (a gated or
  // private repository: what to do about it), ResourceExhausted (asked too often), Unavailable
  // after the last try.
  absl::StatusOr<RemoteFile> Look(const Source& source);

  // Goes on with what `file` has where the server still has the same, or begins anew. More errors:
  // DataLoss when size or SHA-256 are not as the server, or `sha256` (empty: no matter), says;
  // InvalidArgument when it is no GGUF file; ResourceExhausted when the disk is full.
  absl::StatusOr<StoredFile> Fetch(const RemoteFile& remote, const std::string& sha256,
                                   StagedFile* file,
                                   const std::function<void(uint64_t bytes)>& on_progress);

 private:
  explicit Fetcher(Options options)
      : options_(std::move(options)), http_(options_.limits, options_.stop) {}

  absl::StatusOr<HttpHead> Follow(const Source& source, HttpRequest request,
                                  const HttpClient::OnBody& on_body);
  absl::Status StatusOf(const Source& source, const HttpHead& head) const;
  absl::Status TryOnce(const RemoteFile& remote, StagedFile* file,
                       const std::function<void(uint64_t bytes)>& on_progress);
  absl::Status Retrying(const std::function<absl::Status()>& attempt,
                        const std::function<uint64_t()>& bytes);
  absl::Status Wait(int64_t ms) const;

  const Options options_;
  HttpClient http_;
  int64_t asked_wait_ms_ = 0;  // by the last answer
};

}  // namespace corpgrid::models
