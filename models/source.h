#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace corpgrid::models {

inline constexpr char kDefaultHub[] = "https://huggingface.co";

// Where a model is to come from, as a person names it: a path, a URL, or a file of a hub's
// repository, "hf://org/repo/folder/file.gguf" or "hf://org/repo@revision/file.gguf".
struct Source {
  enum class Kind { kPath, kUrl, kHub };

  Kind kind = Kind::kPath;
  std::string path;      // of the file: on this machine, or in the repository
  std::string url;       // kUrl
  std::string repo;      // kHub: "org/repo"
  std::string revision;  // kHub

  // Errors: InvalidArgument saying what is wrong, as CheckUrl() does.
  static absl::StatusOr<Source> Parse(const std::string& text);

  // As the manifest has it; "hf://…@revision/…" with a revision other than "main", and URLs without
  // their query.
  std::string ToText() const;

  // Where the file is fetched from; `hub`: the hub's address. Not for paths.
  std::string Url(const std::string& hub) const;

  // The repository's page, for people.
  std::string Page(const std::string& hub) const;

  // The same with another file of the same folder.
  Source WithFile(const std::string& name) const;
};

}  // namespace corpgrid::models
