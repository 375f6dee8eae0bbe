#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "crypto/hash.h"

namespace corpgrid::agent {

// An unpacked bundle. It stays on disk for as long as somebody holds it.
struct Bundle {
  std::string folder;
};

// The bundles that jobs brought, unpacked under their hash: CACHE/<64 hex digits>. What was not
// used for longest goes first when they grow beyond `max_bytes`. Any thread.
class BundleCache {
 public:
  // Writes the archive whose hash was asked for, checked, to an open file.
  using Download = std::function<absl::Status(int fd)>;

  // Opens `folder`, made if need be, and deletes what an interrupted run left there.
  static absl::StatusOr<std::unique_ptr<BundleCache>> Open(const std::string& folder,
                                                           uint64_t max_bytes);

  // The bundle `hash`; where it is not here it is downloaded and unpacked, by one caller for all.
  // Errors: those of `download`, InvalidArgument for an archive that is none or that reaches out of
  // its folder, ResourceExhausted when the disk is full.
  absl::StatusOr<std::shared_ptr<const Bundle>> Get(const crypto::Hash& hash,
                                                    uint64_t archive_bytes,
                                                    const Download& download);

 private:
  struct Entry {
    std::shared_ptr<const Bundle> bundle;  // null while it is being fetched
    uint64_t bytes = 0;
    uint64_t last_use = 0;
  };

  BundleCache(std::string folder, uint64_t max_bytes)
      : folder_(std::move(folder)), max_bytes_(max_bytes) {}

  absl::Status Load();
  absl::StatusOr<Entry> Fetch(const crypto::Hash& hash, const Download& download) const;
  // Deletes unused bundles until `bytes` more fit.
  void MakeRoom(uint64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::string Path(const crypto::Hash& hash) const { return folder_ + "/" + hash.Hex(); }
  std::string Scratch() const { return folder_ + "/tmp"; }

  const std::string folder_;
  const uint64_t max_bytes_;
  absl::Mutex mutex_;
  absl::CondVar fetched_;
  std::unordered_map<crypto::Hash, Entry> entries_ ABSL_GUARDED_BY(mutex_);
  uint64_t total_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t uses_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace corpgrid::agent
