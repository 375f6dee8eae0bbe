#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/file.h"
#include "models/model_store.h"
#include "models/sha256.h"
#include "models/stored_model.h"

namespace corpgrid::models {

// A file that comes into a staging piece by piece, and may be gone on with by a later process:
// NAME.part while it grows, NAME when it is whole, NAME.state for what was said of it. One thread.
class StagedFile {
 public:
  // Reads what is there already once, for its hash. Errors of all: those of FileError(); Cancelled
  // once `stop` (null: never) is true.
  static absl::StatusOr<StagedFile> Open(const Staging& staging, const std::string& name,
                                         const std::atomic<bool>* stop = nullptr);

  const std::string& name() const { return name_; }
  bool finished() const { return !sha256_.empty(); }
  uint64_t bytes() const { return bytes_; }

  // What tells that the bytes are of the same file as those that come, as Restart() was told.
  const std::string& origin() const { return origin_; }

  // Forgets the bytes; what comes is of `origin`.
  absl::Status Restart(const std::string& origin);

  absl::Status Append(std::string_view bytes);

  // The file is whole and on disk. Where it is not as expected (0 and "": no matter) it is
  // forgotten and DataLoss says what is wrong.
  absl::StatusOr<StoredFile> Finish(uint64_t expected_bytes, const std::string& expected_sha256);

  // The finished file.
  StoredFile file() const { return {.name = name_, .bytes = bytes_, .sha256 = sha256_}; }

 private:
  StagedFile(std::string name, std::string path) : name_(std::move(name)), path_(std::move(path)) {}

  // How many of the part's bytes are sure to be there; whether it was finished.
  absl::StatusOr<uint64_t> ReadState();
  absl::Status WriteState() const;
  absl::Status OpenPart(uint64_t keep_bytes, const std::atomic<bool>* stop = nullptr);

  const std::string name_;
  const std::string path_;
  UniqueFd fd_;
  Sha256 hash_;
  uint64_t bytes_ = 0;
  uint64_t flushed_bytes_ = 0;
  std::string origin_;
  std::string sha256_;  // when finished
};

}  // namespace corpgrid::models
