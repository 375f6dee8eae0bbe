#include "objects/chunk_files.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <set>
#include <system_error>

#include "base/file.h"
#include "base/status_macros.h"
#include "fmt/format.h"

namespace corpgrid::objects {
namespace {

namespace fs = std::filesystem;

absl::Status MakeFolder(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) == 0 || errno == EEXIST) return absl::OkStatus();
  return FileError(path, "create the folder", errno);
}

}  // namespace

ChunkFiles::ChunkFiles(std::string folder, FileCalls calls, IsNamed is_named)
    : folder_(std::move(folder)), calls_(std::move(calls)), is_named_(std::move(is_named)) {}

ChunkFiles::Pin::Pin(ChunkFiles* files, const crypto::Hash& hash) : files_(files), hash_(hash) {
  const std::lock_guard lock(files_->mutex_);
  ++files_->pins_[hash_];
}

ChunkFiles::Pin::~Pin() {
  if (files_ != nullptr) files_->Unpin(hash_);
}

void ChunkFiles::Unpin(const crypto::Hash& hash) {
  const std::lock_guard lock(mutex_);
  const auto pin = pins_.find(hash);
  if (--pin->second > 0) return;
  pins_.erase(pin);
  RemoveIfUnused(hash);
}

void ChunkFiles::RemoveIfUnused(const crypto::Hash& hash) {
  if (pins_.contains(hash)) return;
  const absl::StatusOr<bool> named = is_named_(hash);
  // When the index cannot tell, the file stays; the next start looks again.
  if (!named.ok() || *named) return;
  ::unlink(PathOf(hash).c_str());
}

void ChunkFiles::RemoveUnused(const std::vector<crypto::Hash>& hashes) {
  for (const crypto::Hash& hash : hashes) {
    const std::lock_guard lock(mutex_);
    RemoveIfUnused(hash);
  }
}

absl::Status ChunkFiles::Prepare() {
  RETURN_IF_ERROR(MakeFolder(folder_ + "/chunks"));
  RETURN_IF_ERROR(MakeFolder(folder_ + "/tmp"));
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_ + "/tmp", error)) {
    fs::remove_all(entry.path(), error);
    if (error) return FileError(entry.path().string(), "delete", error.value());
  }
  if (error) return FileError(folder_ + "/tmp", "list", error.value());
  return SyncFolder(folder_);
}

absl::Status ChunkFiles::Sweep() {
  std::error_code error;
  for (fs::recursive_directory_iterator it(folder_ + "/chunks", error), end; !error && it != end;
       it.increment(error)) {
    if (it->is_directory()) continue;
    const absl::StatusOr<crypto::Hash> hash = crypto::Hash::FromHex(it->path().filename().string());
    bool named = false;
    if (hash.ok() && it->path().string() == PathOf(*hash)) {
      ASSIGN_OR_RETURN(named, is_named_(*hash));
    }
    if (!named && ::unlink(it->path().c_str()) != 0) {
      return FileError(it->path().string(), "delete", errno);
    }
  }
  return error ? FileError(folder_ + "/chunks", "list", error.value()) : absl::OkStatus();
}

std::string ChunkFiles::PrefixFolder(uint8_t prefix) const {
  return fmt::format("{}/chunks/{:02x}", folder_, prefix);
}

std::string ChunkFiles::PathOf(const crypto::Hash& hash) const {
  return fmt::format("{}/{}", PrefixFolder(hash.bytes[0]), hash.Hex());
}

absl::StatusOr<std::string> ChunkFiles::WriteTemporary(std::string_view data) {
  std::string path = fmt::format("{}/tmp/{}", folder_, next_temporary_++);
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!fd.ok()) return FileError(path, "create", errno);
  while (!data.empty()) {
    const ssize_t written = calls_.write(fd.get(), data.data(), data.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      const int error = written < 0 ? errno : EIO;
      ::unlink(path.c_str());
      return FileError(path, "write", error);
    }
    data.remove_prefix(static_cast<size_t>(written));
  }
  return path;
}

absl::Status ChunkFiles::SyncFolder(const std::string& path) const {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.ok()) return FileError(path, "open", errno);
  return calls_.sync(fd.get()) == 0 ? absl::OkStatus() : FileError(path, "sync", errno);
}

absl::Status ChunkFiles::Publish(const std::vector<Written>& files) {
  // All files are flushed before the first is renamed: the file system's journal then needs one
  // commit for all the names.
  for (const Written& file : files) {
    const UniqueFd fd(::open(file.temporary_path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd.ok()) return FileError(file.temporary_path, "open", errno);
    if (calls_.sync(fd.get()) != 0) return FileError(file.temporary_path, "sync", errno);
  }
  std::set<uint8_t> prefixes;
  for (const Written& file : files) prefixes.insert(file.hash.bytes[0]);
  RETURN_IF_ERROR(MakePrefixFolders(prefixes));
  for (const Written& file : files) {
    const std::string path = PathOf(file.hash);
    if (calls_.rename(file.temporary_path.c_str(), path.c_str()) != 0) {
      return FileError(path, "create", errno);
    }
  }
  for (const uint8_t prefix : prefixes) RETURN_IF_ERROR(SyncFolder(PrefixFolder(prefix)));
  return absl::OkStatus();
}

// One at a time, when first needed: all 256 take a second on some file systems.
absl::Status ChunkFiles::MakePrefixFolders(const std::set<uint8_t>& prefixes) {
  const auto is_durable = [&](uint8_t prefix) { return durable_prefixes_[prefix].load(); };
  if (std::all_of(prefixes.begin(), prefixes.end(), is_durable)) return absl::OkStatus();
  for (const uint8_t prefix : prefixes) RETURN_IF_ERROR(MakeFolder(PrefixFolder(prefix)));
  RETURN_IF_ERROR(SyncFolder(folder_ + "/chunks"));
  for (const uint8_t prefix : prefixes) durable_prefixes_[prefix] = true;
  return absl::OkStatus();
}

void ChunkFiles::Discard(const std::vector<Written>& files) const {
  for (const Written& file : files) ::unlink(file.temporary_path.c_str());
}

absl::StatusOr<std::string> ChunkFiles::Read(const crypto::Hash& hash, uint64_t size) const {
  const std::string path = PathOf(hash);
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.ok()) {
    if (errno == ENOENT) return absl::DataLossError(fmt::format("{}: the chunk is missing", path));
    return FileError(path, "open", errno);
  }
  std::string data(size, '\0');
  size_t filled = 0;
  while (filled < size) {
    const ssize_t got = calls_.read(fd.get(), data.data() + filled, size - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError(path, "read", errno);
    if (got == 0) break;
    filled += static_cast<size_t>(got);
  }
  char beyond = 0;
  if (filled != size || calls_.read(fd.get(), &beyond, 1) != 0) {
    return absl::DataLossError(fmt::format("{}: the chunk is not {} bytes long", path, size));
  }
  if (crypto::Blake3(data) != hash) {
    return absl::DataLossError(fmt::format("{}: the chunk's bytes are not what was stored", path));
  }
  return data;
}

bool ChunkFiles::Holds(const crypto::Hash& hash, uint64_t size) const {
  const absl::StatusOr<bool> named = is_named_(hash);
  return named.ok() && *named && Read(hash, size).ok();
}

}  // namespace corpgrid::objects
