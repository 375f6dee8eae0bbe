#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "runner/inside/system.h"

namespace corpgrid::runner::inside {

struct Entry {  // struct linux_dirent64
  uint64_t inode;
  int64_t offset;
  uint16_t length;
  uint8_t type;
  char name[];
};

// Calls `use(entry)` for each entry of the open folder but "." and ".."; how many there were.
template <typename F>
size_t ForEach(int folder, F use) {
  alignas(Entry) char buffer[32 << 10];
  size_t count = 0;
  Require(lseek(folder, 0, SEEK_SET) == 0, "lseek");
  for (;;) {
    long n = Sys(SYS_getdents64, folder, Word(buffer), sizeof buffer);
    if (n == 0 || n == -ENOENT) return count;  // one of /proc goes with its process
    if (n < 0) Die("getdents64", -n);
    for (long at = 0; at < n;) {
      const Entry* entry = reinterpret_cast<const Entry*>(buffer + at);
      at += entry->length;
      if (strcmp(entry->name, ".") == 0 || strcmp(entry->name, "..") == 0) continue;
      ++count;
      use(*entry);
    }
  }
}

}  // namespace corpgrid::runner::inside
