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

// Packs `folder` as a tar stream: entries sorted by name, no times, owners or modes but the
// executable bit, so that the same files give the same bytes on every machine. Folders and regular
// files only. Errors: InvalidArgument naming the path for links that leave the folder, devices,
// sockets and names that are not UTF-8. Links within the folder are packed as what they point to.
absl::Status PackBundle(const std::string& folder, const Sink& sink);

struct UnpackLimits {
  uint64_t bytes = 8ull << 30;
  uint64_t entries = 1'000'000;
  uint64_t path_bytes = 4096;
  uint32_t depth = 64;
};

// Unpacks into `folder`, which must exist and be empty. Trusts nothing in the archive: paths are
// resolved beneath the folder component by component without following links; anything but folders
// and regular files, absolute paths, "..", duplicate entries, a file where a folder is needed,
// bytes or entries beyond the limits and sizes that lie end it with InvalidArgument naming the
// entry. On an error the folder is emptied again. Uncompressed tar only.
absl::Status UnpackBundle(const Source& source, const std::string& folder,
                          const UnpackLimits& limits);

}  // namespace corpgrid::objects
