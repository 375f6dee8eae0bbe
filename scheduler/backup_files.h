#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/sqlite.h"
#include "crypto/hash.h"

// What scheduler/backup.cc and scheduler/restore.cc share.
namespace corpgrid::scheduler {

inline constexpr int kBackupFormat = 1;
inline constexpr char kManifest[] = "manifest.json";
inline constexpr char kStatePart[] = "scheduler/state.db";
inline constexpr char kIndexPart[] = "scheduler/objects/index.db";
inline constexpr char kChunksFolder[] = "scheduler/objects/chunks";
inline constexpr size_t kCopyBytes = 256 << 10;

// A folder beside `path` for what is not whole yet; goes with its contents.
class WorkFolder {
 public:
  static absl::StatusOr<WorkFolder> Make(const std::string& path, const std::string& what);
  WorkFolder(WorkFolder&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  ~WorkFolder();
  const std::string& path() const { return path_; }

 private:
  explicit WorkFolder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// "ab/<hash>", as the object store has it.
std::string ChunkName(const crypto::Hash& hash);
// The chunks that the index of an object store names.
absl::StatusOr<std::vector<crypto::Hash>> ChunksOf(const std::string& index_path);
// The jobs of a SQLite store that are not removed.
absl::StatusOr<std::vector<int64_t>> JobsOf(const std::string& state_path);
absl::StatusOr<std::string> GridIdOf(const std::string& state_path);
// Makes what was renamed in the folder of `path` durable.
absl::Status SyncFolderOf(const std::string& path);

}  // namespace corpgrid::scheduler
