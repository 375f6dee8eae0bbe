#include "sim/faulty_disk.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

namespace corpgrid::sim {

struct FaultyDisk::Handle {
  sqlite3_file base;
  FaultyDisk* disk;
  uint64_t life;
  int level;                             // SQLITE_LOCK_…
  std::array<int, kShmLocks> shm_locks;  // 1 shared, -1 exclusive
  std::shared_ptr<Content> content;

  static Handle* Of(sqlite3_file* file) { return reinterpret_cast<Handle*>(file); }
  bool dead() const { return life != disk->life_; }
};

const sqlite3_io_methods FaultyDisk::kMethods = {
    .iVersion = 2,
    .xClose = Close,
    .xRead = Read,
    .xWrite = Write,
    .xTruncate = Truncate,
    .xSync = Sync,
    .xFileSize = Size,
    .xLock = Lock,
    .xUnlock = Unlock,
    .xCheckReservedLock = CheckReserved,
    .xFileControl = [](sqlite3_file*, int, void*) { return SQLITE_NOTFOUND; },
    .xSectorSize = [](sqlite3_file*) { return 4096; },
    .xDeviceCharacteristics = [](sqlite3_file*) { return SQLITE_IOCAP_POWERSAFE_OVERWRITE; },
    .xShmMap = ShmMap,
    .xShmLock = ShmLock,
    .xShmBarrier = [](sqlite3_file*) {},
    .xShmUnmap = ShmUnmap,
    .xFetch = nullptr,
    .xUnfetch = nullptr};

FaultyDisk::FaultyDisk(uint64_t seed) : random_(seed) {
  vfs_.iVersion = 1;
  vfs_.szOsFile = sizeof(Handle);
  vfs_.mxPathname = 512;
  vfs_.zName = "corpgrid-faulty-disk";
  vfs_.pAppData = this;
  vfs_.xOpen = Open;
  vfs_.xDelete = Delete;
  vfs_.xAccess = Access;
  vfs_.xFullPathname = FullPath;
  vfs_.xRandomness = Randomness;
  vfs_.xSleep = [](sqlite3_vfs*, int us) { return us; };
  vfs_.xCurrentTime = [](sqlite3_vfs*, double* days) {
    *days = 2'460'000.5;
    return SQLITE_OK;
  };
  vfs_.xGetLastError = [](sqlite3_vfs*, int, char*) { return 0; };
  sqlite3_vfs_register(&vfs_, /*makeDflt=*/1);
}

FaultyDisk::~FaultyDisk() { sqlite3_vfs_unregister(&vfs_); }

void FaultyDisk::Mend() {
  write_fault_.reset();
  sync_fault_.reset();
  fail_read_ = false;
}

void FaultyDisk::Crash(bool torn, bool lost) {
  Mend();
  ++life_;
  power_ = true;
  for (auto& [name, content] : files_) {
    content->shared = 0;
    content->owned = false;
    content->shm = {};
    if (!torn && !lost) continue;  // The system lives on and writes what it was given.
    for (const auto& [index, before] : content->before) {
      const size_t from = index * kSectorBytes;
      if (from >= content->bytes.size()) continue;
      const size_t size = std::min(kSectorBytes, content->bytes.size() - from);
      if (lost && random_.Below(2) == 0) {
        std::memcpy(&content->bytes[from], before.data(), size);
      } else if (torn && random_.Below(4) == 0) {
        const size_t written = random_.Below(size);
        std::memcpy(&content->bytes[from + written], &before[written], size - written);
      }
    }
    if (lost && content->bytes.size() > content->synced_size && random_.Below(2) == 0) {
      const size_t grown = content->bytes.size() - content->synced_size;
      content->bytes.resize(content->synced_size + random_.Below(grown));
    }
    content->Sync();
  }
}

// Keeps what the sectors from byte `first` to `end` were at the last sync.
void FaultyDisk::Content::Remember(uint64_t first, uint64_t end) {
  for (uint64_t index = first / kSectorBytes; index * kSectorBytes < end; ++index) {
    const auto [it, is_new] = before.try_emplace(index);
    const uint64_t from = index * kSectorBytes;
    if (!is_new || from >= bytes.size()) continue;
    std::memcpy(it->second.data(), &bytes[from], std::min(kSectorBytes, bytes.size() - from));
  }
}

void FaultyDisk::Content::Sync() {
  before.clear();
  synced_size = bytes.size();
}

int FaultyDisk::NextWrite() {
  if (!power_) return SQLITE_IOERR;
  if (!write_fault_) return SQLITE_OK;
  if (write_fault_->operations > 0) {
    --write_fault_->operations;
    return SQLITE_OK;
  }
  const int code = write_fault_->code;
  write_fault_.reset();
  if (code != kPowerCut) return code;
  power_ = false;
  return SQLITE_IOERR;
}

int FaultyDisk::Open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* out) {
  auto* disk = static_cast<FaultyDisk*>(vfs->pAppData);
  file->pMethods = nullptr;
  if (!disk->power_) return SQLITE_CANTOPEN;
  std::shared_ptr<Content> content;
  if (name == nullptr) {
    content = std::make_shared<Content>();  // a temporary file
  } else if (const auto it = disk->files_.find(name); it != disk->files_.end()) {
    content = it->second;
  } else if ((flags & SQLITE_OPEN_CREATE) == 0) {
    return SQLITE_CANTOPEN;
  } else {
    content = disk->files_[name] = std::make_shared<Content>();
  }
  auto* handle = new (file) Handle{{}, disk, disk->life_, SQLITE_LOCK_NONE, {}, std::move(content)};
  handle->base.pMethods = &kMethods;
  if (out != nullptr) *out = flags;
  return SQLITE_OK;
}

int FaultyDisk::Delete(sqlite3_vfs* vfs, const char* name, int) {
  auto* disk = static_cast<FaultyDisk*>(vfs->pAppData);
  if (const int error = disk->NextWrite(); error != SQLITE_OK) return SQLITE_IOERR_DELETE;
  return disk->files_.erase(name) > 0 ? SQLITE_OK : SQLITE_IOERR_DELETE_NOENT;
}

int FaultyDisk::Access(sqlite3_vfs* vfs, const char* name, int, int* out) {
  const auto it = static_cast<FaultyDisk*>(vfs->pAppData)->files_.find(name);
  *out = it != static_cast<FaultyDisk*>(vfs->pAppData)->files_.end() ? 1 : 0;
  return SQLITE_OK;
}

int FaultyDisk::FullPath(sqlite3_vfs*, const char* name, int size, char* out) {
  const size_t length = std::strlen(name);
  if (length >= static_cast<size_t>(size)) return SQLITE_CANTOPEN;
  std::memcpy(out, name, length + 1);
  return SQLITE_OK;
}

int FaultyDisk::Randomness(sqlite3_vfs*, int size, char* out) {
  std::memset(out, 1, static_cast<size_t>(size));
  return size;
}

int FaultyDisk::Close(sqlite3_file* file) {
  Unlock(file, SQLITE_LOCK_NONE);
  Handle::Of(file)->~Handle();
  return SQLITE_OK;
}

int FaultyDisk::Read(sqlite3_file* file, void* to, int size, sqlite3_int64 offset) {
  Handle* handle = Handle::Of(file);
  FaultyDisk* disk = handle->disk;
  if (handle->dead() || !disk->power_ || std::exchange(disk->fail_read_, false)) {
    return SQLITE_IOERR_READ;
  }
  const std::vector<uint8_t>& bytes = handle->content->bytes;
  const size_t from = std::min(static_cast<size_t>(offset), bytes.size());
  const size_t got = std::min(static_cast<size_t>(size), bytes.size() - from);
  if (got > 0) std::memcpy(to, &bytes[from], got);
  std::memset(static_cast<char*>(to) + got, 0, static_cast<size_t>(size) - got);
  return got == static_cast<size_t>(size) ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
}

int FaultyDisk::Write(sqlite3_file* file, const void* from, int size, sqlite3_int64 offset) {
  Handle* handle = Handle::Of(file);
  if (handle->dead()) return SQLITE_IOERR_WRITE;
  if (const int error = handle->disk->NextWrite(); error != SQLITE_OK) return error;
  Content& content = *handle->content;
  const size_t begin = static_cast<size_t>(offset);
  const size_t end = begin + static_cast<size_t>(size);
  content.Remember(begin, end);
  if (content.bytes.size() < end) content.bytes.resize(end);
  std::memcpy(&content.bytes[begin], from, static_cast<size_t>(size));
  return SQLITE_OK;
}

int FaultyDisk::Truncate(sqlite3_file* file, sqlite3_int64 size) {
  Handle* handle = Handle::Of(file);
  if (handle->dead()) return SQLITE_IOERR_TRUNCATE;
  if (const int error = handle->disk->NextWrite(); error != SQLITE_OK) return error;
  Content& content = *handle->content;
  content.Remember(static_cast<uint64_t>(size), content.bytes.size());
  content.bytes.resize(static_cast<size_t>(size));
  return SQLITE_OK;
}

int FaultyDisk::Sync(sqlite3_file* file, int) {
  Handle* handle = Handle::Of(file);
  FaultyDisk* disk = handle->disk;
  if (handle->dead()) return SQLITE_IOERR_FSYNC;
  if (const int error = disk->NextWrite(); error != SQLITE_OK) return SQLITE_IOERR_FSYNC;
  const std::optional<bool> fault = std::exchange(disk->sync_fault_, std::nullopt);
  if (!disk->lose_syncs_ && fault.value_or(true)) handle->content->Sync();
  return fault ? SQLITE_IOERR_FSYNC : SQLITE_OK;
}

int FaultyDisk::Size(sqlite3_file* file, sqlite3_int64* size) {
  Handle* handle = Handle::Of(file);
  if (handle->dead()) return SQLITE_IOERR_FSTAT;
  *size = static_cast<sqlite3_int64>(handle->content->bytes.size());
  return SQLITE_OK;
}

int FaultyDisk::Lock(sqlite3_file* file, int level) {
  Handle* handle = Handle::Of(file);
  if (handle->dead()) return SQLITE_IOERR_LOCK;
  if (level <= handle->level) return SQLITE_OK;
  Content& content = *handle->content;
  const bool owner = handle->level >= SQLITE_LOCK_RESERVED;
  if (content.owned && !owner && level >= SQLITE_LOCK_RESERVED) return SQLITE_BUSY;
  const int others = content.shared - (handle->level >= SQLITE_LOCK_SHARED ? 1 : 0);
  if (level == SQLITE_LOCK_EXCLUSIVE && others > 0) return SQLITE_BUSY;
  if (handle->level == SQLITE_LOCK_NONE) ++content.shared;
  if (level >= SQLITE_LOCK_RESERVED) content.owned = true;
  handle->level = level;
  return SQLITE_OK;
}

int FaultyDisk::Unlock(sqlite3_file* file, int level) {
  Handle* handle = Handle::Of(file);
  if (handle->dead() || handle->level <= level) return SQLITE_OK;
  if (handle->level >= SQLITE_LOCK_RESERVED) handle->content->owned = false;
  if (level == SQLITE_LOCK_NONE) --handle->content->shared;
  handle->level = level;
  return SQLITE_OK;
}

int FaultyDisk::CheckReserved(sqlite3_file* file, int* out) {
  *out = Handle::Of(file)->content->owned ? 1 : 0;
  return SQLITE_OK;
}

int FaultyDisk::ShmMap(sqlite3_file* file, int region, int size, int extend, void volatile** out) {
  Handle* handle = Handle::Of(file);
  if (handle->dead()) return SQLITE_IOERR_SHMMAP;
  auto& regions = handle->content->shm.regions;
  const size_t index = static_cast<size_t>(region);
  *out = nullptr;
  if (index >= regions.size() && extend == 0) return SQLITE_OK;
  while (index >= regions.size()) {
    regions.push_back(std::make_unique<std::vector<uint8_t>>(static_cast<size_t>(size)));
  }
  *out = regions[index]->data();
  return SQLITE_OK;
}

int FaultyDisk::ShmLock(sqlite3_file* file, int offset, int count, int flags) {
  Handle* handle = Handle::Of(file);
  if (handle->dead()) return SQLITE_IOERR_SHMLOCK;
  auto& locks = handle->content->shm.locks;
  const bool shared = (flags & SQLITE_SHM_SHARED) != 0;
  const size_t first = static_cast<size_t>(offset);
  const size_t end = first + static_cast<size_t>(count);
  if ((flags & SQLITE_SHM_UNLOCK) != 0) {
    for (size_t i = first; i < end; ++i) {
      if (handle->shm_locks[i] == 1) --locks[i];
      if (handle->shm_locks[i] == -1) locks[i] = 0;
      handle->shm_locks[i] = 0;
    }
    return SQLITE_OK;
  }
  for (size_t i = first; i < end; ++i) {
    if (handle->shm_locks[i] == 0 && (locks[i] == -1 || (!shared && locks[i] > 0))) {
      return SQLITE_BUSY;
    }
  }
  for (size_t i = first; i < end; ++i) {
    if (handle->shm_locks[i] != 0) continue;
    locks[i] = shared ? locks[i] + 1 : -1;
    handle->shm_locks[i] = shared ? 1 : -1;
  }
  return SQLITE_OK;
}

int FaultyDisk::ShmUnmap(sqlite3_file* file, int remove) {
  Handle* handle = Handle::Of(file);
  if (!handle->dead() && remove != 0) handle->content->shm = {};
  return SQLITE_OK;
}

}  // namespace corpgrid::sim
