#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/client.h"
#include "crypto/hash.h"
#include "crypto/signature.h"
#include "job/job_file.h"
#include "job/spec.h"

namespace corpgrid::cli {

// A file without a name, gone when it is closed. Moveable only.
class TempFile {
 public:
  // In $TMPDIR, else /tmp.
  static absl::StatusOr<TempFile> Create();
  TempFile() = default;
  TempFile(TempFile&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  TempFile& operator=(TempFile&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~TempFile();

  int fd() const { return fd_; }
  absl::Status Append(std::string_view data) const;

 private:
  explicit TempFile(int fd) : fd_(fd) {}
  int fd_ = -1;
};

// A job with everything that is uploaded for it, hashed.
struct PreparedJob {
  job::JobSpec spec;
  std::string spec_bytes;
  crypto::Hash spec_hash;
  bool has_bundle = false;
  TempFile bundle;           // packed
  crypto::Hash bundle_hash;  // of no bytes for a job without a bundle
  uint64_t bundle_bytes = 0;
  std::vector<job::InputFile> inputs;
  uint64_t upload_bytes = 0;
};

// Called as work goes on: what is being done ("packing"), bytes so far, and of how many (0: not
// known).
using StageProgress = std::function<void(std::string_view stage, uint64_t done, uint64_t total)>;

// What the command line says beside the job file.
struct Overrides {
  std::vector<uint64_t> after;  // in addition to the file's
  std::optional<int32_t> priority;
  std::optional<std::string> project;
};

// Reads the job file `file`, packs its bundle and hashes its inputs. Errors: InvalidArgument, with
// every mistake, for a file that does not say a job.
absl::StatusOr<PreparedJob> PrepareJob(const std::string& file, const Overrides& overrides,
                                       const StageProgress& progress);

struct Submission {
  uint64_t job_id = 0;
  bool existed = false;  // the key had made this very job before
};

// Signs, uploads and submits. However often it is called with the same key, there is one job.
// Errors: AlreadyExists when the key belongs to a different job, Aborted when a file changed since
// it was hashed.
absl::StatusOr<Submission> SubmitJob(Client& client, const crypto::KeyPair& key,
                                     const PreparedJob& job, const std::string& idempotency_key,
                                     const StageProgress& progress);

// A key that no other submission has.
std::string NewIdempotencyKey();

}  // namespace corpgrid::cli
