#pragma once

#include <sqlite3.h>

#include <atomic>
#include <cstring>
#include <string>

namespace corpgrid::testing {

// SQLite's file layer with faults: while one lives, every connection that is opened goes through
// it. One at a time.
class FaultyVfs {
 public:
  FaultyVfs() : vfs_(*sqlite3_vfs_find(nullptr)), real_(sqlite3_vfs_find(nullptr)) {
    vfs_.zName = "faulty";
    vfs_.szOsFile = static_cast<int>(sizeof(File)) + real_->szOsFile;
    vfs_.pAppData = this;
    vfs_.xOpen = Open;
    sqlite3_vfs_register(&vfs_, 1);
  }
  FaultyVfs(const FaultyVfs&) = delete;
  ~FaultyVfs() { sqlite3_vfs_unregister(&vfs_); }

  std::atomic<int> write_error = SQLITE_OK;  // what every write returns
  std::atomic<int> sync_error = SQLITE_OK;   // what every flush returns
  std::atomic<int> read_error = SQLITE_OK;   // what every read returns
  std::atomic<int> syncs = 0;

 private:
  struct File {
    sqlite3_file base;
    sqlite3_io_methods methods;
    FaultyVfs* faults;
    sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
  };

  static File* Of(sqlite3_file* file) { return reinterpret_cast<File*>(file); }

  template <auto Member>
  struct Forwarder;
  template <typename Result, typename... Args,
            Result (*sqlite3_io_methods::*Member)(sqlite3_file*, Args...)>
  struct Forwarder<Member> {
    static Result Call(sqlite3_file* file, Args... args) {
      sqlite3_file* real = Of(file)->real();
      return (real->pMethods->*Member)(real, args...);
    }
  };

  static int Open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* out) {
    auto* faults = static_cast<FaultyVfs*>(vfs->pAppData);
    File* f = Of(file);
    std::memset(f, 0, sizeof(File));
    const int code = faults->real_->xOpen(faults->real_, name, f->real(), flags, out);
    if (f->real()->pMethods == nullptr) return code;
    f->faults = faults;
    using M = sqlite3_io_methods;
    f->methods = {.iVersion = 2,
                  .xClose = Forwarder<&M::xClose>::Call,
                  .xRead = Read,
                  .xWrite = Write,
                  .xTruncate = Forwarder<&M::xTruncate>::Call,
                  .xSync = Sync,
                  .xFileSize = Forwarder<&M::xFileSize>::Call,
                  .xLock = Forwarder<&M::xLock>::Call,
                  .xUnlock = Forwarder<&M::xUnlock>::Call,
                  .xCheckReservedLock = Forwarder<&M::xCheckReservedLock>::Call,
                  .xFileControl = Forwarder<&M::xFileControl>::Call,
                  .xSectorSize = Forwarder<&M::xSectorSize>::Call,
                  .xDeviceCharacteristics = Forwarder<&M::xDeviceCharacteristics>::Call,
                  .xShmMap = Forwarder<&M::xShmMap>::Call,
                  .xShmLock = Forwarder<&M::xShmLock>::Call,
                  .xShmBarrier = Forwarder<&M::xShmBarrier>::Call,
                  .xShmUnmap = Forwarder<&M::xShmUnmap>::Call,
                  .xFetch = nullptr,
                  .xUnfetch = nullptr};
    f->base.pMethods = &f->methods;
    return code;
  }

  static int Read(sqlite3_file* file, void* to, int size, sqlite3_int64 offset) {
    const int error = Of(file)->faults->read_error;
    return error != SQLITE_OK ? error
                              : Forwarder<&sqlite3_io_methods::xRead>::Call(file, to, size, offset);
  }
  static int Write(sqlite3_file* file, const void* from, int size, sqlite3_int64 offset) {
    const int error = Of(file)->faults->write_error;
    return error != SQLITE_OK
               ? error
               : Forwarder<&sqlite3_io_methods::xWrite>::Call(file, from, size, offset);
  }
  static int Sync(sqlite3_file* file, int flags) {
    ++Of(file)->faults->syncs;
    const int error = Of(file)->faults->sync_error;
    return error != SQLITE_OK ? error : Forwarder<&sqlite3_io_methods::xSync>::Call(file, flags);
  }

  sqlite3_vfs vfs_;
  sqlite3_vfs* const real_;
};

}  // namespace corpgrid::testing
