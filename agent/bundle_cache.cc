#include "agent/bundle_cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "agent/files.h"
#include "base/status_macros.h"
#include "objects/bundle.h"

namespace corpgrid::agent {
namespace {

namespace fs = std::filesystem;

constexpr size_t kReadBytes = 1 << 20;

uint64_t BytesIn(const fs::path& folder) {
  std::error_code error;
  uint64_t bytes = 0;
  for (fs::recursive_directory_iterator i(folder, error), end; i != end; i.increment(error)) {
    if (error) break;
    std::error_code ignored;
    const uint64_t size = i->is_regular_file(ignored) ? i->file_size(ignored) : 0;
    bytes += size == static_cast<uintmax_t>(-1) ? 0 : size;
  }
  return bytes;
}

// Unpacks the archive in `fd` and sees to it that all of it is on disk.
absl::Status Unpack(int fd, const std::string& folder) {
  if (mkdir(folder.c_str(), 0700) != 0) return DeviceError(folder, "make");
  uint64_t offset = 0;
  const objects::Source source = [fd, &offset]() -> absl::StatusOr<std::string> {
    ASSIGN_OR_RETURN(std::string data, ReadAt(fd, offset, kReadBytes));
    offset += data.size();
    return data;
  };
  RETURN_IF_ERROR(OwnError(objects::UnpackBundle(source, folder, objects::UnpackLimits())));
  const UniqueFd opened(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!opened.ok() || syncfs(opened.get()) != 0) return DeviceError(folder, "sync");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<BundleCache>> BundleCache::Open(const std::string& folder,
                                                               uint64_t max_bytes) {
  std::unique_ptr<BundleCache> cache(new BundleCache(folder, max_bytes));
  RETURN_IF_ERROR(cache->Load());
  return cache;
}

absl::Status BundleCache::Load() {
  std::error_code error;
  fs::remove_all(Scratch(), error);
  fs::create_directories(Scratch(), error);
  if (error) {
    return absl::FailedPreconditionError(
        fmt::format("cannot make {}: {}", Scratch(), error.message()));
  }
  std::vector<std::pair<fs::file_time_type, crypto::Hash>> found;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_, error)) {
    const absl::StatusOr<crypto::Hash> hash =
        crypto::Hash::FromHex(entry.path().filename().string());
    if (hash.ok()) found.emplace_back(entry.last_write_time(error), *hash);
  }
  std::sort(found.begin(), found.end());
  absl::MutexLock lock(&mutex_);
  for (const auto& [time, hash] : found) {
    const uint64_t bytes = BytesIn(Path(hash));
    entries_[hash] = {std::make_shared<const Bundle>(Bundle{Path(hash)}), bytes, ++uses_};
    total_bytes_ += bytes;
  }
  MakeRoom(0);
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const Bundle>> BundleCache::Get(const crypto::Hash& hash,
                                                               uint64_t archive_bytes,
                                                               const Download& download) {
  {
    absl::MutexLock lock(&mutex_);
    for (auto it = entries_.find(hash); it != entries_.end(); it = entries_.find(hash)) {
      if (it->second.bundle != nullptr) {
        it->second.last_use = ++uses_;
        return it->second.bundle;
      }
      fetched_.Wait(&mutex_);
    }
    MakeRoom(archive_bytes);
    entries_[hash] = Entry{};
  }
  absl::StatusOr<Entry> entry = Fetch(hash, download);
  absl::MutexLock lock(&mutex_);
  fetched_.SignalAll();
  if (!entry.ok()) {
    entries_.erase(hash);
    return entry.status();
  }
  entry->last_use = ++uses_;
  total_bytes_ += entry->bytes;
  return (entries_[hash] = *std::move(entry)).bundle;
}

absl::StatusOr<BundleCache::Entry> BundleCache::Fetch(const crypto::Hash& hash,
                                                      const Download& download) const {
  ASSIGN_OR_RETURN(const UniqueFd archive, TemporaryFile(Scratch()));
  RETURN_IF_ERROR(download(archive.get()));
  const std::string scratch = Scratch() + "/" + hash.Hex();
  absl::Status status = Unpack(archive.get(), scratch);
  if (status.ok() && rename(scratch.c_str(), Path(hash).c_str()) != 0) {
    status = DeviceError(Path(hash), "put the bundle there");
  }
  if (!status.ok()) {
    std::error_code ignored;
    fs::remove_all(scratch, ignored);
    return status;
  }
  return Entry{std::make_shared<const Bundle>(Bundle{Path(hash)}), BytesIn(Path(hash)), 0};
}

void BundleCache::MakeRoom(uint64_t bytes) {
  while (total_bytes_ + bytes > max_bytes_) {
    auto oldest = entries_.end();
    for (auto it = entries_.begin(); it != entries_.end(); ++it) {
      // Held by the cache alone: new holders appear only under the mutex.
      const bool unused = it->second.bundle != nullptr && it->second.bundle.use_count() == 1;
      if (unused && (oldest == entries_.end() || it->second.last_use < oldest->second.last_use)) {
        oldest = it;
      }
    }
    if (oldest == entries_.end()) return;
    spdlog::info("bundle {} deleted to make room", oldest->first.Hex());
    std::error_code error;
    fs::remove_all(oldest->second.bundle->folder, error);
    if (error) spdlog::warn("cannot delete {}: {}", oldest->second.bundle->folder, error.message());
    total_bytes_ -= oldest->second.bytes;
    entries_.erase(oldest);
  }
}

}  // namespace corpgrid::agent
