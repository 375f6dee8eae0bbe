#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "objects/bundle.h"

namespace corpgrid::objects {

inline constexpr size_t kTarBlockBytes = 512;
inline constexpr size_t kTarEndBytes = 2 * kTarBlockBytes;  // of zeros

struct TarEntry {
  std::string path;  // no slash at its end
  bool is_folder = false;
  bool is_executable = false;
  uint64_t size_bytes = 0;  // of what follows; 0 for folders
};

// The blocks before an entry's bytes: a ustar header and, for what it cannot hold (paths over 100
// bytes or not ASCII, sizes from 8 GiB on), a pax header before it. We write them ourselves, so
// that the same files give the same bytes with every version of every library.
std::string EncodeTarHeader(const TarEntry& entry);

// Zero bytes that fill the last block of an entry.
inline size_t TarPadding(uint64_t size_bytes) {
  return (kTarBlockBytes - size_bytes % kTarBlockBytes) % kTarBlockBytes;
}

// "a path that leads up" or whatever is wrong with the path of an entry; "" when nothing is. A good
// path is relative, of components that are neither empty nor "." nor "..", UTF-8 and without
// control characters, within the limits.
std::string TarPathProblem(std::string_view path, const UnpackLimits& limits);

// Reads the tar archives that EncodeTarHeader() and others write: ustar and pax with files and
// folders, nothing else. All errors but the source's own are InvalidArgument. Memory is bounded by
// what the source gives at once. One thread at a time.
class TarReader {
 public:
  TarReader(const Source& source, const UnpackLimits& limits) : source_(source), limits_(limits) {}

  // The next entry, nothing at the end of a complete archive. Call when the last one's data is
  // read.
  absl::StatusOr<std::optional<TarEntry>> Next();

  // The next bytes of the entry, empty at its end. Valid until the next call.
  absl::StatusOr<std::string_view> Data();

 private:
  struct PaxRecords {
    std::optional<std::string> path;
    std::optional<uint64_t> size_bytes;
  };

  absl::Status Fill();
  absl::StatusOr<std::string> ReadBytes(uint64_t count);
  absl::StatusOr<PaxRecords> ReadPax(uint64_t size_bytes);
  absl::StatusOr<TarEntry> ParseEntry(const std::string& block, PaxRecords pax);
  absl::Status CheckEnd();

  const Source& source_;
  const UnpackLimits limits_;
  std::string buffer_;      // what the source gave last
  size_t buffer_at_ = 0;    // from here on it is unread
  uint64_t data_left_ = 0;  // of the current entry
  size_t padding_left_ = 0;
};

}  // namespace corpgrid::objects
