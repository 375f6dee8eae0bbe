#include "crypto/keyring.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/status_macros.h"
#include "crypto/key_file.h"
#include "fmt/format.h"

namespace corpgrid::crypto {
namespace {

constexpr size_t kRingLimit = 1 << 20;
constexpr std::string_view kBlanks = " \t\r";

std::string_view Strip(std::string_view text) {
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return "";
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

// The text of a ring, "" when there is none.
absl::StatusOr<std::string> ReadRing(const std::string& path) {
  absl::StatusOr<std::string> text =
      ReadKeyFile(path, kRingLimit, [&](const struct stat& info) -> absl::Status {
        if ((info.st_mode & 022) == 0) return absl::OkStatus();
        return absl::PermissionDeniedError(
            fmt::format("{} says whose jobs run here, but others may change it (mode {:04o}): look "
                        "through it, then run chmod go-w {}",
                        path, info.st_mode & 07777, path));
      });
  if (absl::IsNotFound(text.status())) return std::string();
  return text;
}

// Holds a lock on a folder, so that of two programs that rewrite a file in it none loses a line.
class FolderLock {
 public:
  explicit FolderLock(const std::string& folder)
      : fd_(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    while (fd_ >= 0 && !locked_ && (locked_ = flock(fd_, LOCK_EX) == 0, !locked_)) {
      if (errno != EINTR) break;
    }
  }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;
  ~FolderLock() {
    if (fd_ >= 0) close(fd_);
  }
  bool locked() const { return locked_; }

 private:
  int fd_;
  bool locked_ = false;
};

}  // namespace

absl::StatusOr<Keyring> Keyring::Load(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadRing(path));
  return Parse(text, path);
}

absl::StatusOr<Keyring> Keyring::Parse(std::string_view text, const std::string& path) {
  Keyring ring;
  std::string mistakes;
  for (size_t line_number = 1; !text.empty(); ++line_number) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view whole = text.substr(0, end);
    const std::string_view line = Strip(whole.substr(0, whole.find('#')));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty()) continue;
    const size_t blank = std::min(line.find_first_of(kBlanks), line.size());
    const absl::StatusOr<PublicKey> key = PublicKey::FromText(line.substr(0, blank));
    if (key.ok()) {
      ring.entries_.push_back({*key, std::string(Strip(line.substr(blank)))});
    } else {
      mistakes += fmt::format("{}{}:{}: {}", mistakes.empty() ? "" : "\n", path, line_number,
                              std::string(key.status().message()));
    }
  }
  if (!mistakes.empty()) return absl::InvalidArgumentError(mistakes);
  return ring;
}

absl::Status Keyring::Add(const std::string& path, const PublicKey& key, std::string_view name) {
  if (name.find_first_of(std::string_view("\n\r#\0", 4)) != std::string_view::npos) {
    return absl::InvalidArgumentError(
        fmt::format("the name of a key may hold no line break and no '#', got \"{}\"", name));
  }
  const FolderLock lock(FolderOf(path));
  if (!lock.locked()) {
    return absl::ErrnoToStatus(errno, fmt::format("cannot lock the folder {}", FolderOf(path)));
  }
  ASSIGN_OR_RETURN(std::string text, ReadRing(path));
  ASSIGN_OR_RETURN(const Keyring ring, Parse(text, path));
  if (ring.Trusts(key)) return absl::OkStatus();
  if (!text.empty() && text.back() != '\n') text += '\n';
  text += fmt::format("{}{}{}\n", key.ToText(), name.empty() ? "" : " ", name);
  return WriteKeyFile(path, text, 0644, IfExists::kReplace);
}

bool Keyring::Trusts(const PublicKey& key) const {
  return std::any_of(entries_.begin(), entries_.end(),
                     [&](const Entry& entry) { return entry.key == key; });
}

}  // namespace corpgrid::crypto
