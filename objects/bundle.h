#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "objects/object_store.h"

namespace corpgrid::objects {

// Takes the next bytes of an archive; what it returns other than OK stops the work and is returned.
using Sink = std::function<absl::Status(std::string_view)>;
// Gives the next bytes of an archive, empty at the end.
using Source = std::function<absl::StatusOr<std::string>()>;

// Packs `folder` as a tar stream (ustar, with pax headers where needed): entries sorted by name, no
// times, owners or modes but the executable bit, so that the same files give the same bytes on
// every machine. Folders and regular files only; links within the folder are packed as what they
// point to. What it packs, UnpackBundle() accepts with its default limits, the bytes apart. Errors:
// InvalidArgument naming the path for links that leave the folder or contain themselves, devices,
// sockets, names that are not UTF-8 or hold control characters; Aborted when a file changes
// meanwhile.
absl::Status PackBundle(const std::string& folder, const Sink& sink);

// The same of an open folder whose content nobody vouches for: links are InvalidArgument too. It is
// only read beneath. `name` stands for the folder in errors.
absl::Status PackUntrusted(int folder, const std::string& name, const Sink& sink);

struct UnpackLimits {
  uint64_t bytes = 8ull << 30;
  uint64_t entries = 1'000'000;
  uint64_t path_bytes = 4096;
  uint32_t depth = 64;
};

// Unpacks into `folder`, which must exist and be empty. Trusts nothing in the archive: paths are
// resolved beneath the folder component by component without following links; anything but folders
// and regular files, absolute paths, "..", names that PackBundle() would refuse, duplicate entries,
// a file where a folder is needed, bytes, entries or folders beyond the limits, sizes that lie and
// anything behind the end is InvalidArgument naming the entry. Files get mode 0644 or 0755, folders
// 0755, whatever the umask. On an error the folder is emptied again. Uncompressed ustar and pax
// only, read by a small reader of our own: the libraries' readers know a dozen dialects more than a
// bundle may use, and turn names into whatever the locale says. Other errors: ResourceExhausted
// when the disk is full, FailedPrecondition when the folder is not empty, the source's.
absl::Status UnpackBundle(const Source& source, const std::string& folder,
                          const UnpackLimits& limits);

}  // namespace corpgrid::objects
