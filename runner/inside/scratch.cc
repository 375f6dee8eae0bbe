#include "runner/inside/scratch.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "runner/inside/folder.h"
#include "runner/inside/system.h"

namespace corpgrid::runner::inside {
namespace {

// Kernel memory for an inode and its name, which the size of a tmpfs does not count.
constexpr uint64_t kInodeBytes = 1024;

// Moves what the folder `name` in `top` holds, if it cannot be removed at once, up into `top`, then
// removes it. So no depth of folders needs a deep stack or a long path.
void Dissolve(int top, const char* name, uint64_t& moved) {
  Require(fchmodat(top, name, 0700, 0) == 0, "chmod in the work folder");
  int folder = openat(top, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  Require(folder >= 0, "open in the work folder");
  while (ForEach(folder, [&](const Entry& entry) {
           if (entry.type != DT_DIR) {
             Require(unlinkat(folder, entry.name, 0) == 0, "unlink");
             return;
           }
           if (unlinkat(folder, entry.name, AT_REMOVEDIR) == 0) return;
           // The kernel asks for the right to write into a folder whose ".." changes.
           Require(fchmodat(folder, entry.name, 0700, 0) == 0, "chmod in the work folder");
           char target[32];
           do {
             snprintf(target, sizeof target, "moved-%llu",
                      static_cast<unsigned long long>(moved++));
           } while (renameat2(folder, entry.name, top, target, RENAME_NOREPLACE) != 0 &&
                    (errno == EEXIST || (Die("rename in the work folder"), false)));
         }) > 0) {
  }
  close(folder);
  Require(unlinkat(top, name, AT_REMOVEDIR) == 0, "rmdir");
}

void DropAttributes(int folder) {
  char names[64 << 10];
  ssize_t n = flistxattr(folder, names, sizeof names);
  Require(n >= 0, "flistxattr");
  for (ssize_t at = 0; at < n; at += strlen(names + at) + 1) {
    if (strncmp(names + at, "security.", 9) == 0) continue;  // the system's, not the shard's
    Require(fremovexattr(folder, names + at) == 0 || errno == ENODATA, "fremovexattr");
  }
}

// Files can lie in transit between dead sockets that hold each other: the kernel looks for such
// when any socket closes.
void CollectSockets() {
  int ends[2];
  Require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
  close(ends[0]);
  close(ends[1]);
}

int OpenFolder(const char* path) {
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  Require(fd >= 0, path);
  return fd;
}

}  // namespace

void Empty(int folder, unsigned mode) {
  Require(fchmod(folder, 0700) == 0, "fchmod");
  uint64_t moved = 0;
  while (ForEach(folder, [&](const Entry& entry) {
           if (entry.type != DT_DIR) {
             Require(unlinkat(folder, entry.name, 0) == 0, "unlink");
           } else if (unlinkat(folder, entry.name, AT_REMOVEDIR) != 0) {
             Dissolve(folder, entry.name, moved);
           }
         }) > 0) {
  }
  DropAttributes(folder);
  Require(fchmod(folder, mode) == 0, "fchmod");
}

Scratch::Scratch(uint64_t disk_bytes) {
  int bundle = open("/bundle", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (bundle >= 0) {
    ForEach(bundle, [&](const Entry& entry) { bundle_entries_.push_back(entry.name); });
    close(bundle);
  }

  // One inode for 16 KiB: empty files and folders take kernel memory too.
  uint64_t inodes = std::clamp<uint64_t>(disk_bytes >> 14, 4096, 1 << 20) + bundle_entries_.size();
  char options[128];
  snprintf(options, sizeof options, "mode=0755,size=%llu,nr_inodes=%llu",
           static_cast<unsigned long long>(std::max<uint64_t>(disk_bytes, 1 << 16)),
           static_cast<unsigned long long>(inodes));
  constexpr unsigned long kFlags = MS_NOSUID | MS_NODEV;
  Require(mount("tmpfs", "/work", "tmpfs", kFlags, options) == 0, "mount a tmpfs on /work");
  for (const char* name : {"/work/tmp", "/work/shm", "/work/work"}) {
    Require(mkdir(name, 0755) == 0, name);
  }
  // /work last: it covers the root of the tmpfs.
  Require(mount("/work/tmp", "/tmp", nullptr, MS_BIND, nullptr) == 0, "mount /tmp");
  Require(mount("/work/shm", "/dev/shm", nullptr, MS_BIND, nullptr) == 0, "mount /dev/shm");
  Require(mount("/work/work", "/work", nullptr, MS_BIND, nullptr) == 0, "mount /work");

  folders_ = {{{OpenFolder("/work"), 0755, 0},
               {OpenFolder("/tmp"), 01777, 0},
               {OpenFolder("/dev/shm"), 01777, 0}}};
  for (const Folder& folder : folders_) Empty(folder.fd, folder.mode);
  struct statfs status;
  Require(fstatfs(work_fd(), &status) == 0, "fstatfs");
  all_blocks_ = status.f_blocks;
  all_inodes_ = status.f_files;
  block_bytes_ = status.f_bsize;
  empty_ = FreeNow();
  MakeLinks();
}

Scratch::Free Scratch::FreeNow() const {
  struct statfs status;
  Require(fstatfs(work_fd(), &status) == 0, "fstatfs");
  return {status.f_bfree, status.f_ffree};
}

Scratch::Use Scratch::Used() const {
  Free free = FreeNow();
  return {.bytes = (all_blocks_ - free.blocks) * block_bytes_ +
                   (all_inodes_ - free.inodes) * kInodeBytes,
          .full = free.blocks == 0 || free.inodes == 0};
}

std::string Scratch::Listing() const {
  std::string listing;
  ForEach(work_fd(), [&](const Entry& entry) {
    listing.append(reinterpret_cast<const char*>(&entry.inode), sizeof entry.inode);
    listing.append(entry.name).push_back('\0');
  });
  return listing;
}

bool Scratch::Untouched() const {
  // As many inodes as when it was fresh: without links that means empty, for a second name of a
  // file counts as an inode of its own in a tmpfs.
  if (FreeNow() != fresh_) return false;
  for (const Folder& folder : folders_) {
    struct stat status;
    if (fstat(folder.fd, &status) != 0 || (status.st_mode & 07777) != folder.mode) return false;
    if (flistxattr(folder.fd, nullptr, 0) != folder.attribute_bytes) return false;
  }
  // What a link says cannot change, and a new one has a new inode number.
  return bundle_entries_.empty() || Listing() == listing_;
}

void Scratch::MakeLinks() {
  for (const std::string& name : bundle_entries_) {
    Require(symlinkat(("/bundle/" + name).c_str(), work_fd(), name.c_str()) == 0, "symlink");
  }
  fresh_ = FreeNow();
  listing_ = Listing();
}

void Scratch::Reset() {
  if (Untouched()) return;
  for (const Folder& folder : folders_) Empty(folder.fd, folder.mode);
  constexpr int kTries = 200;
  for (int i = 0; FreeNow() != empty_; ++i) {
    if (i == kTries) Die("the work folder cannot be emptied", EBUSY);
    CollectSockets();
    usleep(5'000);
  }
  MakeLinks();
}

}  // namespace corpgrid::runner::inside
