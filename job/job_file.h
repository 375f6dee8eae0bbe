#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "job/spec.h"

namespace corpgrid::job {

// A job file as a person wrote it: what the spec will say, and what is still to be read from disk.
struct JobFile {
  JobFields fields;            // `inputs` is empty and, with a pattern, `shards` is still to be set
  std::string bundle_path;     // absolute; empty for a job without a bundle
  std::string inputs_pattern;  // absolute glob; empty for a job with `shards:`
};

// Reads a job file (YAML). `file` is its path: the name in messages, and what relative paths are
// relative to. Errors: InvalidArgument with every mistake in one go, one a line, each as
// "FILE:LINE:COLUMN: what is wrong, what was expected (did you mean \"…\"?)".
absl::StatusOr<JobFile> ParseJobFile(std::string_view text, const std::string& file);

// A file that a pattern matched. `name` is what the job will call it.
struct InputFile {
  std::string name;
  std::string path;
};

// The regular files that `pattern` (glob(7)) matches, sorted by name; links are followed.
// Errors: NotFound when nothing matches, InvalidArgument when two files have one name.
absl::StatusOr<std::vector<InputFile>> ExpandInputs(const std::string& pattern);

}  // namespace corpgrid::job
