#include "models/staged_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <vector>

#include "base/status_macros.h"
#include "fmt/format.h"
#include "models/file_io.h"
#include "nlohmann/json.hpp"
#include "platform/file.h"

namespace corpgrid::models {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kFlushBytes = 64 << 20;  // what a power cut may cost
constexpr size_t kReadBytes = 1 << 20;
constexpr size_t kMaxStateBytes = 64 << 10;

// Bytes that were written and not flushed are there as long as the system runs on.
std::string ThisBoot() {
  return platform::ReadSmallFile("/proc/sys/kernel/random/boot_id").value_or("");
}

}  // namespace

absl::StatusOr<StagedFile> StagedFile::Open(const Staging& staging, const std::string& name,
                                            const std::atomic<bool>* stop) {
  StagedFile file(name, staging.PathOf(name));
  ASSIGN_OR_RETURN(const uint64_t keep, file.ReadState());
  if (!file.finished()) RETURN_IF_ERROR(file.OpenPart(keep, stop));
  return file;
}

absl::StatusOr<uint64_t> StagedFile::ReadState() {
  const absl::StatusOr<std::string> text = ReadFile(path_ + ".state", kMaxStateBytes);
  if (!text.ok()) return 0;  // nothing is known of what is there
  const Json state = Json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!state.is_object()) return 0;
  try {
    origin_ = state.value("origin", "");
    const std::string sha256 = state.value("sha256", "");
    struct stat info;
    const uint64_t bytes = state.value("bytes", uint64_t{0});
    const auto has = [&](const std::string& path) {
      return stat(path.c_str(), &info) == 0 && static_cast<uint64_t>(info.st_size) == bytes;
    };
    // The state comes before the name.
    if (IsSha256(sha256) && !has(path_) && has(path_ + ".part") &&
        std::rename((path_ + ".part").c_str(), path_.c_str()) != 0) {
      return FileError(path_, "make", errno);
    }
    if (IsSha256(sha256) && has(path_)) {
      sha256_ = sha256;
      bytes_ = static_cast<uint64_t>(info.st_size);
      return bytes_;
    }
    const bool same_boot = !ThisBoot().empty() && state.value("boot", "") == ThisBoot();
    return same_boot ? UINT64_MAX : state.value("bytes", uint64_t{0});
  } catch (const Json::exception&) {
    origin_.clear();
    return 0;
  }
}

absl::Status StagedFile::WriteState() const {
  const Json state = {{"origin", origin_},
                      {"boot", ThisBoot()},
                      {"bytes", finished() ? bytes_ : flushed_bytes_},
                      {"sha256", sha256_}};
  return WriteFileDurably(path_ + ".state",
                          state.dump(-1, ' ', false, Json::error_handler_t::replace));
}

absl::Status StagedFile::OpenPart(uint64_t keep_bytes, const std::atomic<bool>* stop) {
  const std::string part = path_ + ".part";
  fd_ = UniqueFd(open(part.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!fd_.ok()) return FileError(part, "make", errno);
  hash_ = Sha256();
  bytes_ = 0;
  std::vector<char> buffer(kReadBytes);
  while (bytes_ < keep_bytes) {
    if (stop != nullptr && *stop) return absl::CancelledError("stopped");
    const size_t most = std::min<uint64_t>(buffer.size(), keep_bytes - bytes_);
    const ssize_t size = read(fd_.get(), buffer.data(), most);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return FileError(part, "read", errno);
    if (size == 0) break;
    hash_.Add({buffer.data(), static_cast<size_t>(size)});
    bytes_ += static_cast<uint64_t>(size);
  }
  flushed_bytes_ = std::min(flushed_bytes_, bytes_);
  if (ftruncate(fd_.get(), static_cast<off_t>(bytes_)) != 0 ||
      lseek(fd_.get(), static_cast<off_t>(bytes_), SEEK_SET) < 0) {
    return FileError(part, "write", errno);
  }
  return absl::OkStatus();
}

absl::Status StagedFile::Restart(const std::string& origin) {
  origin_ = origin;
  sha256_.clear();
  flushed_bytes_ = 0;
  RETURN_IF_ERROR(OpenPart(0));
  return WriteState();
}

absl::Status StagedFile::Append(std::string_view bytes) {
  RETURN_IF_ERROR(WriteAll(fd_.get(), bytes, path_ + ".part"));
  hash_.Add(bytes);
  bytes_ += bytes.size();
  if (bytes_ - flushed_bytes_ < kFlushBytes) return absl::OkStatus();
  if (fdatasync(fd_.get()) != 0) return FileError(path_ + ".part", "write", errno);
  flushed_bytes_ = bytes_;
  return WriteState();
}

absl::StatusOr<StoredFile> StagedFile::Finish(uint64_t expected_bytes,
                                              const std::string& expected_sha256) {
  std::string digits = hash_.Digits();
  absl::Status wrong;
  if (expected_bytes > 0 && bytes_ != expected_bytes) {
    wrong = absl::DataLossError(
        fmt::format("{} has {} bytes and should have {}", name_, bytes_, expected_bytes));
  } else if (!expected_sha256.empty() && digits != expected_sha256) {
    wrong = absl::DataLossError(
        fmt::format("the SHA-256 of {} is {} and should be {}", name_, digits, expected_sha256));
  }
  if (!wrong.ok()) {
    RETURN_IF_ERROR(Restart(""));
    return wrong;
  }
  if (fsync(fd_.get()) != 0) return FileError(path_, "write", errno);
  fd_ = UniqueFd();
  sha256_ = std::move(digits);
  RETURN_IF_ERROR(WriteState());
  if (std::rename((path_ + ".part").c_str(), path_.c_str()) != 0) {
    return FileError(path_, "make", errno);
  }
  return file();
}

}  // namespace corpgrid::models
