#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "crypto/hash.h"

namespace corpgrid::gateway {

// Whom a key is for, and what it allows. The key itself is kept nowhere: it has 256 random bits, so
// that its hash tells nothing of it.
struct ApiKey {
  std::string name;                 // of its holder; unique
  crypto::Hash hash;                // of the key
  std::vector<std::string> models;  // that it is for; empty: all
  int64_t expires_s = 0;            // since 1970; 0: never
  uint32_t max_concurrent = 0;      // requests at once; 0: no limit
  uint64_t tokens_per_minute = 0;   // of prompts and answers; 0: no limit

  bool Allows(std::string_view model) const;
};

// A new key ("cgk-…") for its holder, to be shown once.
std::string NewApiKey();
crypto::Hash HashOfApiKey(std::string_view key);

// Where keys are looked up. Any thread.
class KeyDirectory {
 public:
  virtual ~KeyDirectory() = default;

  // Errors: Unauthenticated when there is no such key.
  virtual absl::StatusOr<ApiKey> Find(std::string_view key) const = 0;
};

// One key, in memory.
class OneKey final : public KeyDirectory {
 public:
  explicit OneKey(ApiKey key) : key_(std::move(key)) {}
  absl::StatusOr<ApiKey> Find(std::string_view key) const override;

 private:
  const ApiKey key_;
};

// The keys of a JSON file, which is read again when it changes. Any thread; one process writes.
class KeyFile final : public KeyDirectory {
 public:
  // Errors: what is wrong with the file.
  static absl::StatusOr<std::unique_ptr<KeyFile>> Open(const std::string& path);

  // Errors: Unavailable when the file cannot be read any more, or is broken: then nobody gets in.
  absl::StatusOr<ApiKey> Find(std::string_view key) const override;

  static absl::StatusOr<std::vector<ApiKey>> Read(const std::string& path);
  // Written so that a crash leaves the old file or the new one, mode 0600. Errors: InvalidArgument,
  // with the field and what it may be, for keys that Read() would not take; the file is then as it
  // was.
  static absl::Status Write(const std::string& path, const std::vector<ApiKey>& keys);

 private:
  explicit KeyFile(std::string path) : path_(std::move(path)) {}
  absl::Status Refresh() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string path_;
  mutable absl::Mutex mutex_;
  mutable struct stat read_ ABSL_GUARDED_BY(mutex_) = {};
  mutable std::map<crypto::Hash, ApiKey> keys_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace corpgrid::gateway
