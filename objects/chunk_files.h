#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "crypto/hash.h"

namespace corpgrid::objects {

// The calls through which chunks reach the disk, so that tests can let them fail.
struct FileCalls {
  std::function<ssize_t(int, const void*, size_t)> write = ::write;
  std::function<ssize_t(int, void*, size_t)> read = ::read;
  std::function<int(int)> sync = ::fsync;
  std::function<int(const char*, const char*)> rename = ::rename;
};

// The chunks of large objects, FOLDER/chunks/ab/<hash>. A file is complete and on disk before it
// has its name. Any thread.
//
// An upload finds or writes a chunk's file before the index names it, and a deletion removes the
// file after the index has forgotten it. So that these never cross, an upload *pins* a chunk from
// before it looks until after its commit, and a file is removed only when it is neither pinned nor
// named.
class ChunkFiles {
 public:
  // Whether the index, as committed, names a chunk.
  using IsNamed = std::function<absl::StatusOr<bool>(const crypto::Hash&)>;

  ChunkFiles(std::string folder, FileCalls calls, IsNamed is_named);

  class Pin {
   public:
    Pin(ChunkFiles* files, const crypto::Hash& hash);
    Pin(Pin&& other) noexcept : files_(std::exchange(other.files_, nullptr)), hash_(other.hash_) {}
    Pin& operator=(Pin&&) = delete;
    ~Pin();
    const crypto::Hash& hash() const { return hash_; }

   private:
    ChunkFiles* files_;
    crypto::Hash hash_;
  };

  // Makes the folders and empties the temporary one. Call once, first.
  absl::Status Prepare();
  // Deletes every file that the index does not name. Before the store is used.
  absl::Status Sweep();

  // Writes `data` to a temporary file, not yet durable, and returns its path.
  absl::StatusOr<std::string> WriteTemporary(std::string_view data);
  struct Written {
    std::string temporary_path;
    crypto::Hash hash;
  };
  // Flushes temporary files to disk and gives them their names, durably.
  absl::Status Publish(const std::vector<Written>& files);
  // Removes those temporary files that were not published.
  void Discard(const std::vector<Written>& files) const;

  // The bytes of a chunk. Errors: DataLoss when it is missing, is not `size` bytes long or is not
  // what its hash says; Unavailable when the disk cannot read it now.
  absl::StatusOr<std::string> Read(const crypto::Hash& hash, uint64_t size) const;

  // Whether the index names the chunk and its file is whole.
  bool Holds(const crypto::Hash& hash, uint64_t size) const;

  // Removes files that nothing needs any more.
  void RemoveUnused(const std::vector<crypto::Hash>& hashes);

 private:
  std::string PrefixFolder(uint8_t prefix) const;
  std::string PathOf(const crypto::Hash& hash) const;
  absl::Status MakePrefixFolders(const std::set<uint8_t>& prefixes);
  absl::Status SyncFolder(const std::string& path) const;
  void RemoveIfUnused(const crypto::Hash& hash);  // needs mutex_
  void Unpin(const crypto::Hash& hash);

  const std::string folder_;
  const FileCalls calls_;
  const IsNamed is_named_;
  std::atomic<uint64_t> next_temporary_ = 1;
  std::array<std::atomic<bool>, 256> durable_prefixes_{};  // folders known to be on disk
  std::mutex mutex_;
  std::unordered_map<crypto::Hash, uint32_t> pins_;
};

}  // namespace corpgrid::objects
