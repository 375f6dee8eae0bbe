#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "cli/client.h"
#include "crypto/hash.h"

namespace corpgrid::cli {

struct Download {
  uint64_t files = 0;
  uint64_t bytes = 0;
  uint64_t kept = 0;  // files that were there already, with the right bytes
};

// Fetches the outputs of every finished shard of a job to FOLDER/SHARD/NAME, several at a time; of
// a shard that failed because no quorum agreed, each answer's to FOLDER/SHARD/attempt-ID/NAME.
// A file has its name only once its bytes are complete and have the agreed hash; files that are
// right already are not fetched again. `progress` gets the bytes that are here and of how many,
// from any thread. Errors: NotFound when no shard is done, DataLoss, and those of the file system.
absl::StatusOr<Download> DownloadResults(
    Client& client, uint64_t job_id, const std::string& folder,
    const std::function<void(uint64_t done, uint64_t total)>& progress);

// OK when `name` stays within the folder it is joined to: relative, without "..", "." and empty
// parts. Names come from the grid, which is not trusted to choose files on this machine.
absl::Status CheckOutputName(std::string_view name);

// Whether `path` is a regular file with these bytes.
bool FileHas(const std::string& path, const crypto::Hash& hash, uint64_t size_bytes);

}  // namespace corpgrid::cli
