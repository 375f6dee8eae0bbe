#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <utility>

#include "base/file.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "fmt/format.h"
#include "job/text.h"
#include "objects/bundle.h"
#include "objects/tar.h"

namespace corpgrid::objects {
namespace {

constexpr int kFolderFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

template <typename... Args>
absl::Status Bad(fmt::format_string<Args...> text, Args&&... args) {
  return absl::InvalidArgumentError("bundle: " + fmt::format(text, std::forward<Args>(args)...));
}

// Calls `visit` with each name in `folder`.
template <typename Visit>
absl::Status ForEachName(int folder, const Visit& visit) {
  UniqueFd fd(::openat(folder, ".", kFolderFlags));
  if (!fd.ok()) return FileError("the folder", "list", errno);
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(fd.get()), ::closedir);
  if (!stream) return FileError("the folder", "list", errno);
  (void)fd.Release();  // the stream's now
  while (const dirent* entry = ::readdir(stream.get())) {
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    RETURN_IF_ERROR(visit(entry->d_name));
  }
  return absl::OkStatus();
}

// What we made is never deeper than UnpackLimits::depth, which bounds the recursion.
absl::Status Empty(int folder) {
  return ForEachName(folder, [&](const char* name) -> absl::Status {
    if (::unlinkat(folder, name, 0) == 0) return absl::OkStatus();
    const UniqueFd fd(::openat(folder, name, kFolderFlags));
    if (!fd.ok()) return FileError(name, "delete", errno);
    RETURN_IF_ERROR(Empty(fd.get()));
    if (::unlinkat(folder, name, AT_REMOVEDIR) == 0) return absl::OkStatus();
    return FileError(name, "delete", errno);
  });
}

class Unpacker {
 public:
  Unpacker(int root, const std::string& root_path, const UnpackLimits& limits)
      : root_(root), root_path_(root_path), limits_(limits) {}

  absl::Status Unpack(const Source& source);

 private:
  absl::Status CountEntry(const std::string& path);
  absl::StatusOr<int> OpenParent(const std::string& path);
  absl::StatusOr<UniqueFd> OpenOrMakeFolder(int parent, const std::string& name,
                                            const std::string& path);
  absl::Status AddFolder(const TarEntry& entry);
  absl::Status AddFile(const TarEntry& entry, TarReader& reader);
  std::string Full(const std::string& path) const { return root_path_ + "/" + path; }

  const int root_;
  const std::string& root_path_;
  const UnpackLimits limits_;
  uint64_t entries_ = 0;
  uint64_t bytes_ = 0;
  std::string parent_path_;  // of the last entry, which mostly is the next one's too
  UniqueFd parent_;          // unset for the root
};

std::string NameOf(const std::string& path) { return path.substr(path.rfind('/') + 1); }

absl::Status Unpacker::CountEntry(const std::string& path) {
  if (++entries_ <= limits_.entries) return absl::OkStatus();
  return Bad("{} is one entry more than the {} allowed", job::Quote(path), limits_.entries);
}

absl::StatusOr<UniqueFd> Unpacker::OpenOrMakeFolder(int parent, const std::string& name,
                                                    const std::string& path) {
  UniqueFd fd(::openat(parent, name.c_str(), kFolderFlags));
  if (!fd.ok() && errno == ENOENT) {
    RETURN_IF_ERROR(CountEntry(path));
    if (::mkdirat(parent, name.c_str(), 0755) != 0) {
      return FileError(Full(path), "create the folder", errno);
    }
    fd = UniqueFd(::openat(parent, name.c_str(), kFolderFlags));
    // The umask must not show in what the job sees.
    if (fd.ok() && ::fchmod(fd.get(), 0755) != 0) return FileError(Full(path), "chmod", errno);
  }
  if (fd.ok()) return fd;
  if (errno == ENOTDIR || errno == ELOOP) {
    return Bad("{} lies in a file", job::Quote(path));
  }
  return FileError(Full(path), "open the folder", errno);
}

absl::StatusOr<int> Unpacker::OpenParent(const std::string& path) {
  const size_t end = path.rfind('/');
  const std::string parent_path = end == path.npos ? "" : path.substr(0, end);
  if (parent_path == parent_path_) return parent_.ok() ? parent_.get() : root_;
  UniqueFd folder;
  for (size_t at = 0; at < parent_path.size();) {
    const size_t slash = std::min(parent_path.find('/', at), parent_path.size());
    ASSIGN_OR_RETURN(folder, OpenOrMakeFolder(folder.ok() ? folder.get() : root_,
                                              parent_path.substr(at, slash - at), path));
    at = slash + 1;
  }
  parent_path_ = parent_path;
  parent_ = std::move(folder);
  return parent_.ok() ? parent_.get() : root_;
}

absl::Status Unpacker::AddFolder(const TarEntry& entry) {
  ASSIGN_OR_RETURN(const int parent, OpenParent(entry.path));
  struct stat about{};
  if (::fstatat(parent, NameOf(entry.path).c_str(), &about, AT_SYMLINK_NOFOLLOW) == 0) {
    return Bad("{} comes twice", job::Quote(entry.path));
  }
  return OpenOrMakeFolder(parent, NameOf(entry.path), entry.path).status();
}

absl::Status Unpacker::AddFile(const TarEntry& entry, TarReader& reader) {
  RETURN_IF_ERROR(CountEntry(entry.path));
  if (entry.size_bytes > limits_.bytes - bytes_) {
    return Bad("{} makes it larger than the {} allowed", job::Quote(entry.path),
               FormatBytes(limits_.bytes));
  }
  bytes_ += entry.size_bytes;
  ASSIGN_OR_RETURN(const int parent, OpenParent(entry.path));
  const UniqueFd fd(::openat(parent, NameOf(entry.path).c_str(),
                             O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.ok() && errno == EEXIST) return Bad("{} comes twice", job::Quote(entry.path));
  if (!fd.ok()) return FileError(Full(entry.path), "create", errno);
  for (;;) {
    ASSIGN_OR_RETURN(std::string_view data, reader.Data());
    if (data.empty()) break;
    RETURN_IF_ERROR(WriteAll(fd.get(), data, Full(entry.path)));
  }
  if (::fchmod(fd.get(), entry.is_executable ? 0755 : 0644) != 0) {
    return FileError(Full(entry.path), "chmod", errno);
  }
  return absl::OkStatus();
}

absl::Status Unpacker::Unpack(const Source& source) {
  TarReader reader(source, limits_);
  for (;;) {
    ASSIGN_OR_RETURN(const std::optional<TarEntry> entry, reader.Next());
    if (!entry) return absl::OkStatus();
    RETURN_IF_ERROR(entry->is_folder ? AddFolder(*entry) : AddFile(*entry, reader));
  }
}

}  // namespace

absl::Status UnpackBundle(const Source& source, const std::string& folder,
                          const UnpackLimits& limits) {
  const UniqueFd root(::open(folder.c_str(), kFolderFlags));
  if (!root.ok()) return FileError(folder, "open the folder", errno);
  RETURN_IF_ERROR(ForEachName(root.get(), [&](const char* name) {
    return absl::FailedPreconditionError(
        fmt::format("{}: the folder is not empty, it holds {}", folder, job::Quote(name)));
  }));
  absl::Status status = Unpacker(root.get(), folder, limits).Unpack(source);
  if (status.ok()) return status;
  const absl::Status emptied = Empty(root.get());
  if (emptied.ok()) return status;
  return absl::Status(status.code(), fmt::format("{}; and {} could not be emptied: {}",
                                                 std::string{status.message()}, folder,
                                                 std::string{emptied.message()}));
}

}  // namespace corpgrid::objects
