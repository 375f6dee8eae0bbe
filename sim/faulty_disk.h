#pragma once

#include <sqlite3.h>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sim/random.h"

namespace corpgrid::sim {

// A disk in memory for SQLite, which knows what was synced and what was not, fails when it is told
// to, and loses or tears unsynced sectors when the power fails. While one lives, every connection
// that is opened goes through it; one at a time, one thread.
class FaultyDisk {
 public:
  explicit FaultyDisk(uint64_t seed);
  FaultyDisk(const FaultyDisk&) = delete;
  ~FaultyDisk();

  // The write or sync that comes after `operations` others fails with `code`, an error of SQLite's.
  void FailWrite(uint64_t operations, int code) { write_fault_ = {operations, code}; }
  // The next sync fails; with `does_it` everything is on the disk all the same.
  void FailSync(bool does_it) { sync_fault_ = does_it; }
  // The next read fails.
  void FailRead() { fail_read_ = true; }
  // The power fails at the write or sync that comes after `operations` others.
  void CutPower(uint64_t operations) { write_fault_ = {operations, kPowerCut}; }
  bool powered() const { return power_; }
  // Whether syncs do nothing from now on, as on disks that lie.
  void LoseSyncs(bool lose) { lose_syncs_ = lose; }
  // Takes back what the functions above ordered.
  void Mend();

  // The program that has files open dies: its handles have no effect any more. With `lost` sectors
  // that were not synced may be as before, with `torn` half of each.
  void Crash(bool torn, bool lost);

 private:
  static constexpr size_t kSectorBytes = 512;  // what is written whole or torn
  static constexpr int kPowerCut = -1;
  static constexpr size_t kShmLocks = SQLITE_SHM_NLOCK;
  using Sector = std::array<uint8_t, kSectorBytes>;

  // The shared memory of a database in WAL mode, gone with the last program.
  struct SharedMemory {
    std::vector<std::unique_ptr<std::vector<uint8_t>>> regions;
    std::array<int, kShmLocks> locks{};  // readers, or -1 for a writer
  };
  struct Content {
    std::vector<uint8_t> bytes;
    std::map<uint64_t, Sector> before;  // of sectors written since the last sync
    size_t synced_size = 0;
    int shared = 0;      // handles with a lock
    bool owned = false;  // by one that writes
    SharedMemory shm;

    void Remember(uint64_t first, uint64_t end);
    void Sync();
  };
  struct Handle;
  struct Fault {
    uint64_t operations = 0;
    int code = 0;
  };

  // The errors that were ordered for this write or sync, else SQLITE_OK.
  int NextWrite();

  static int Open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* out);
  static int Delete(sqlite3_vfs* vfs, const char* name, int sync);
  static int Access(sqlite3_vfs* vfs, const char* name, int flags, int* out);
  static int FullPath(sqlite3_vfs* vfs, const char* name, int size, char* out);
  static int Randomness(sqlite3_vfs* vfs, int size, char* out);

  static int Close(sqlite3_file* file);
  static int Read(sqlite3_file* file, void* to, int size, sqlite3_int64 offset);
  static int Write(sqlite3_file* file, const void* from, int size, sqlite3_int64 offset);
  static int Truncate(sqlite3_file* file, sqlite3_int64 size);
  static int Sync(sqlite3_file* file, int flags);
  static int Size(sqlite3_file* file, sqlite3_int64* size);
  static int Lock(sqlite3_file* file, int level);
  static int Unlock(sqlite3_file* file, int level);
  static int CheckReserved(sqlite3_file* file, int* out);
  static int ShmMap(sqlite3_file* file, int region, int size, int extend, void volatile** out);
  static int ShmLock(sqlite3_file* file, int offset, int count, int flags);
  static int ShmUnmap(sqlite3_file* file, int remove);
  static const sqlite3_io_methods kMethods;

  Random random_;
  sqlite3_vfs vfs_{};
  std::map<std::string, std::shared_ptr<Content>> files_;
  uint64_t life_ = 1;  // handles of an earlier one are dead
  bool power_ = true;
  std::optional<Fault> write_fault_;
  std::optional<bool> sync_fault_;
  bool fail_read_ = false;
  bool lose_syncs_ = false;
};

}  // namespace corpgrid::sim
