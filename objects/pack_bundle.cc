#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/status_macros.h"
#include "fmt/format.h"
#include "job/text.h"
#include "objects/bundle.h"
#include "objects/tar.h"

namespace corpgrid::objects {
namespace {

namespace fs = std::filesystem;

constexpr size_t kReadBytes = 256 << 10;

struct FolderId {
  dev_t device;
  ino_t inode;
  bool operator==(const FolderId&) const = default;
};

class Packer {
 public:
  // Links are followed within `real_root`; none are when it is not given.
  Packer(std::string root, std::optional<fs::path> real_root, const Sink& sink)
      : root_(std::move(root)), real_root_(std::move(real_root)), sink_(sink) {}

  // `path` is relative to the root; "" is the root itself, which gets no entry.
  absl::Status AddFolder(UniqueFd fd, const std::string& path);

 private:
  absl::Status AddEntry(int folder, const std::string& path, const std::string& name);
  absl::Status AddFile(UniqueFd fd, const std::string& path, const struct stat& about);
  absl::StatusOr<UniqueFd> OpenLinkTarget(const std::string& path);
  std::string Full(const std::string& path) const { return root_ + "/" + path; }

  const std::string root_;
  const std::optional<fs::path> real_root_;
  const Sink& sink_;
  const UnpackLimits limits_;
  uint64_t entries_ = 0;
  std::vector<FolderId> open_folders_;  // from the root down
};

absl::StatusOr<std::vector<std::string>> NamesIn(int folder, const std::string& path) {
  UniqueFd fd(::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.ok()) return FileError(path, "list", errno);
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(fd.get()), ::closedir);
  if (!stream) return FileError(path, "list", errno);
  (void)fd.Release();  // the stream's now
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(stream.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  if (errno != 0) return FileError(path, "list", errno);
  std::sort(names.begin(), names.end());
  return names;
}

absl::Status Packer::AddFolder(UniqueFd fd, const std::string& path) {
  struct stat about{};
  if (::fstat(fd.get(), &about) != 0) return FileError(Full(path), "examine", errno);
  const FolderId id{.device = about.st_dev, .inode = about.st_ino};
  if (std::find(open_folders_.begin(), open_folders_.end(), id) != open_folders_.end()) {
    return absl::InvalidArgumentError(
        fmt::format("{}: a link to a folder that contains it", Full(path)));
  }
  if (!path.empty()) {
    RETURN_IF_ERROR(sink_(EncodeTarHeader(
        {.path = path, .is_folder = true, .is_executable = false, .size_bytes = 0})));
  }
  open_folders_.push_back(id);
  ASSIGN_OR_RETURN(const std::vector<std::string> names, NamesIn(fd.get(), Full(path)));
  for (const std::string& name : names) {
    RETURN_IF_ERROR(
        AddEntry(fd.get(), path.empty() ? name : fmt::format("{}/{}", path, name), name));
  }
  open_folders_.pop_back();
  return absl::OkStatus();
}

absl::Status Packer::AddEntry(int folder, const std::string& path, const std::string& name) {
  // What is packed must unpack.
  if (const std::string problem = TarPathProblem(path, limits_); !problem.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("{}: {} is {}", root_, job::Quote(path), problem));
  }
  if (++entries_ > limits_.entries) {
    return absl::InvalidArgumentError(
        fmt::format("{}: more than {} files and folders", root_, limits_.entries));
  }
  struct stat about{};
  if (::fstatat(folder, name.c_str(), &about, AT_SYMLINK_NOFOLLOW) != 0) {
    return FileError(Full(path), "examine", errno);
  }
  UniqueFd fd;
  if (S_ISLNK(about.st_mode)) {
    ASSIGN_OR_RETURN(fd, OpenLinkTarget(path));
  } else if (S_ISREG(about.st_mode) || S_ISDIR(about.st_mode)) {
    fd = UniqueFd(::openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!fd.ok()) return FileError(Full(path), "open", errno);
  }
  if (fd.ok() && ::fstat(fd.get(), &about) != 0) return FileError(Full(path), "examine", errno);
  if (fd.ok() && S_ISDIR(about.st_mode)) return AddFolder(std::move(fd), path);
  if (fd.ok() && S_ISREG(about.st_mode)) return AddFile(std::move(fd), path, about);
  return absl::InvalidArgumentError(
      fmt::format("{}: neither a file nor a folder (a device, socket or pipe)", Full(path)));
}

absl::StatusOr<UniqueFd> Packer::OpenLinkTarget(const std::string& path) {
  if (!real_root_) {
    return absl::InvalidArgumentError(
        fmt::format("{}: a link, which may lead anywhere", Full(path)));
  }
  std::error_code error;
  const fs::path target = fs::canonical(Full(path), error);
  if (error) {
    return absl::InvalidArgumentError(
        fmt::format("{}: a link that leads nowhere: {}", Full(path), error.message()));
  }
  const auto [root_end, inside] =
      std::mismatch(real_root_->begin(), real_root_->end(), target.begin(), target.end());
  if (root_end != real_root_->end()) {
    return absl::InvalidArgumentError(
        fmt::format("{}: a link out of the folder, to {}", Full(path), target.string()));
  }
  UniqueFd fd(::open(target.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!fd.ok()) return FileError(Full(path), "open", errno);
  return fd;
}

absl::Status Packer::AddFile(UniqueFd fd, const std::string& path, const struct stat& about) {
  const auto size = static_cast<uint64_t>(about.st_size);
  RETURN_IF_ERROR(sink_(EncodeTarHeader({.path = path,
                                         .is_folder = false,
                                         .is_executable = (about.st_mode & 0111) != 0,
                                         .size_bytes = size})));
  std::string buffer(kReadBytes, '\0');
  uint64_t packed = 0;
  for (;;) {
    const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError(Full(path), "read", errno);
    packed += static_cast<uint64_t>(got);
    if (packed > size || (got == 0 && packed < size)) {
      return absl::AbortedError(
          fmt::format("{}: it changed while it was packed; try again", Full(path)));
    }
    if (got == 0) break;
    RETURN_IF_ERROR(sink_(std::string_view(buffer).substr(0, static_cast<size_t>(got))));
  }
  const size_t padding = TarPadding(size);
  return padding == 0 ? absl::OkStatus() : sink_(std::string(padding, '\0'));
}

}  // namespace

absl::Status PackBundle(const std::string& folder, const Sink& sink) {
  UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.ok()) return FileError(folder, "open the folder", errno);
  std::error_code error;
  fs::path real = fs::canonical(folder, error);
  if (error) return FileError(folder, "open the folder", error.value());
  Packer packer(folder, std::move(real), sink);
  RETURN_IF_ERROR(packer.AddFolder(std::move(fd), ""));
  return sink(std::string(kTarEndBytes, '\0'));
}

absl::Status PackUntrusted(int folder, const std::string& name, const Sink& sink) {
  UniqueFd fd(::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.ok()) return FileError(name, "open the folder", errno);
  Packer packer(name, std::nullopt, sink);
  RETURN_IF_ERROR(packer.AddFolder(std::move(fd), ""));
  return sink(std::string(kTarEndBytes, '\0'));
}

}  // namespace corpgrid::objects
