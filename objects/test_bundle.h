#pragma once

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>

#include "fmt/format.h"
#include "objects/bundle.h"

namespace corpgrid::objects {

// What a folder holds: path -> "dir 755" or "file 644 CONTENT".
inline std::map<std::string, std::string> Describe(const std::string& folder) {
  namespace fs = std::filesystem;
  std::map<std::string, std::string> description;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    struct stat about{};
    ::lstat(entry.path().c_str(), &about);
    std::string text = fmt::format("{} {:o}",
                                   S_ISDIR(about.st_mode)   ? "dir"
                                   : S_ISREG(about.st_mode) ? "file"
                                                            : "other",
                                   about.st_mode & 07777);
    if (S_ISREG(about.st_mode)) {
      std::ifstream file(entry.path(), std::ios::binary);
      text += " " + std::string(std::istreambuf_iterator<char>(file), {});
    }
    description[fs::relative(entry.path(), folder).string()] = std::move(text);
  }
  return description;
}

inline absl::StatusOr<std::string> Pack(const std::string& folder) {
  std::string archive;
  const absl::Status status = PackBundle(folder, [&](std::string_view bytes) {
    archive += bytes;
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return archive;
}

// Gives the archive in pieces of `piece_bytes`.
inline absl::Status Unpack(std::string_view archive, const std::string& folder,
                           const UnpackLimits& limits = {}, size_t piece_bytes = 1 << 20) {
  return UnpackBundle(
      [&]() -> absl::StatusOr<std::string> {
        const std::string piece(archive.substr(0, piece_bytes));
        archive.remove_prefix(piece.size());
        return piece;
      },
      folder, limits);
}

}  // namespace corpgrid::objects
