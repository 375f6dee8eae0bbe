#include <glob.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "job/job_file.h"
#include "job/text.h"

namespace corpgrid::job {

absl::StatusOr<std::vector<InputFile>> ExpandInputs(const std::string& pattern) {
  // With GLOB_ERR a folder that cannot be read is an error: left out, its files would be missed.
  struct Glob {
    glob_t found{};
    ~Glob() { globfree(&found); }
  } matches;
  errno = 0;
  const int result = glob(pattern.c_str(), GLOB_ERR | GLOB_NOSORT, nullptr, &matches.found);
  if (result == GLOB_NOSPACE) return absl::ResourceExhaustedError("out of memory");
  // A folder that is not there holds no match.
  if (result == GLOB_ABORTED && errno != ENOENT) {
    return absl::ErrnoToStatus(
        errno, fmt::format("inputs: cannot read a folder that {} leads to", Quote(pattern)));
  }

  std::map<std::string, std::string> path_by_name;
  for (size_t i = 0; result == 0 && i < matches.found.gl_pathc; ++i) {
    const std::filesystem::path path(matches.found.gl_pathv[i]);
    std::error_code error;
    const auto type = std::filesystem::status(path, error).type();
    if (type == std::filesystem::file_type::not_found) {
      return absl::NotFoundError(
          fmt::format("inputs: {} is a link that leads nowhere", Quote(path.native())));
    }
    if (type != std::filesystem::file_type::regular) continue;
    const auto [first, is_new] = path_by_name.emplace(path.filename(), path);
    if (!is_new) {
      return absl::InvalidArgumentError(fmt::format(
          "inputs: two files have the name {}: {} and {}; shards read their file by its name, so "
          "rename one",
          Quote(first->first), std::min(first->second, path.native()),
          std::max(first->second, path.native())));
    }
  }
  if (path_by_name.empty()) {
    return absl::NotFoundError(
        matches.found.gl_pathc == 0
            ? fmt::format("inputs: no file matches {}", Quote(pattern))
            : fmt::format("inputs: {} matches no regular file, only folders and the like",
                          Quote(pattern)));
  }
  if (path_by_name.size() > JobSpec::kMaxInputs) {
    return absl::InvalidArgumentError(
        fmt::format("inputs: {} matches {} files, at most {} are "
                    "allowed: pack several into one",
                    Quote(pattern), path_by_name.size(), JobSpec::kMaxInputs));
  }
  std::vector<InputFile> files;
  files.reserve(path_by_name.size());
  for (auto& [name, path] : path_by_name) files.push_back({name, path});
  return files;
}

}  // namespace corpgrid::job
