#include "scheduler/backup_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>

#include "base/file.h"
#include "base/status_macros.h"
#include "crypto/key_file.h"
#include "fmt/format.h"

namespace corpgrid::scheduler {
namespace {

template <typename Take>
absl::Status ForEach(const std::string& path, std::string_view sql, const Take& take) {
  ASSIGN_OR_RETURN(sqlite::Database db, sqlite::Database::OpenForReading(path));
  ASSIGN_OR_RETURN(sqlite::Query query, db.Ask(sql));
  for (;;) {
    ASSIGN_OR_RETURN(const bool more, query.Next());
    if (!more) return absl::OkStatus();
    RETURN_IF_ERROR(take(query));
  }
}

}  // namespace

absl::StatusOr<WorkFolder> WorkFolder::Make(const std::string& path, const std::string& what) {
  std::string folder = fmt::format("{}.{}-XXXXXX", path, what);
  if (::mkdtemp(folder.data()) == nullptr) return FileError(folder, "make the folder", errno);
  return WorkFolder(std::move(folder));
}

WorkFolder::~WorkFolder() {
  std::error_code error;
  if (!path_.empty()) std::filesystem::remove_all(path_, error);
}

std::string ChunkName(const crypto::Hash& hash) {
  return fmt::format("{:02x}/{}", hash.bytes[0], hash.Hex());
}

absl::StatusOr<std::vector<crypto::Hash>> ChunksOf(const std::string& index_path) {
  std::vector<crypto::Hash> chunks;
  RETURN_IF_ERROR(ForEach(index_path, "SELECT hash FROM chunks ORDER BY hash",
                          [&](const sqlite::Query& query) -> absl::Status {
                            ASSIGN_OR_RETURN(chunks.emplace_back(),
                                             crypto::Hash::FromRaw(query.Bytes(0)));
                            return absl::OkStatus();
                          }));
  return chunks;
}

absl::StatusOr<std::vector<int64_t>> JobsOf(const std::string& state_path) {
  std::vector<int64_t> jobs;
  RETURN_IF_ERROR(ForEach(state_path, "SELECT job_id FROM job_progress WHERE state < 5 ORDER BY 1",
                          [&](const sqlite::Query& query) {
                            jobs.push_back(query.Int(0));
                            return absl::OkStatus();
                          }));
  return jobs;
}

absl::StatusOr<std::string> GridIdOf(const std::string& state_path) {
  std::string id;
  RETURN_IF_ERROR(ForEach(state_path, "SELECT grid_id FROM meta", [&](const sqlite::Query& query) {
    id = query.Bytes(0);
    return absl::OkStatus();
  }));
  return id;
}

absl::Status SyncFolderOf(const std::string& path) {
  const std::string folder = crypto::FolderOf(path);
  const UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.ok() || ::fsync(fd.get()) != 0) return FileError(folder, "sync", errno);
  return absl::OkStatus();
}

}  // namespace corpgrid::scheduler
