#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace corpgrid::runner::inside {

// All that a shard may write to: /work, /tmp and /dev/shm, three folders of one tmpfs, so that one
// bound holds for them together.
class Scratch {
 public:
  // Mounts them. Ends the runner on failure, as do all functions here.
  explicit Scratch(uint64_t disk_bytes);

  int work_fd() const { return folders_[0].fd; }

  // Leaves the three folders as the first shard found them: /work with a link for each entry of
  // /bundle, the others empty. Costs a few microseconds when nothing was changed. Every process of
  // the last shard must be dead.
  void Reset();

  struct Use {
    uint64_t bytes = 0;  // with what the kernel needs for the files themselves
    bool full = false;
  };
  Use Used() const;

 private:
  struct Folder {
    int fd;
    unsigned mode;
    long attribute_bytes;  // of the names of its extended attributes
  };
  struct Free {
    uint64_t blocks, inodes;
    bool operator==(const Free&) const = default;
  };

  Free FreeNow() const;
  std::string Listing() const;
  bool Untouched() const;
  void MakeLinks();

  std::array<Folder, 3> folders_;
  uint64_t all_blocks_, all_inodes_, block_bytes_;
  std::vector<std::string> bundle_entries_;
  Free empty_;           // without links
  Free fresh_;           // with them
  std::string listing_;  // of /work with its links, inode numbers included
};

// Removes everything in the folder, whatever its names, modes and depth, and what its mode and
// attributes were changed to.
void Empty(int folder, unsigned mode);

}  // namespace corpgrid::runner::inside
