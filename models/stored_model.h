#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "inference/model_facts.h"

namespace corpgrid::models {

struct StoredFile {
  std::string name;  // in the model's folder
  uint64_t bytes = 0;
  std::string sha256;  // 64 lower-case digits
};

// A model that a store has: what its manifest says.
struct StoredModel {
  std::string name;
  std::string source;  // "hf://org/repo@commit/file.gguf", a URL or a path
  int64_t added_wall_ms = 0;
  std::vector<StoredFile> files;  // in order; the library is given the first
  inference::ModelFacts facts;
  inference::Compatibility verdict;  // when it was added

  uint64_t bytes() const;
  // What tells it from others of its name: its file's SHA-256, or that of its files' digits; 32
  // bytes.
  std::string Digest() const;
};

// Names are 1 to 96 letters, digits, '.', '_' and '-', the first a letter or a digit. Errors:
// InvalidArgument saying so.
absl::Status CheckModelName(std::string_view name);

// A name for the model in a file: "Llama-3-8B-Q4_K_M" of "dir/Llama
// 3-8B-Q4_K_M-00001-of-00002.gguf" but for the blank, which becomes '-'. Always one that
// CheckModelName() allows.
std::string NameFromFile(std::string_view path);

// A file's name without its folders and without anything that a path or a shell may take for
// something else.
std::string SafeFileName(std::string_view path);

// The names of all parts of a split model, of the name of one: "a-00001-of-00003.gguf". Those of
// other files are alone. Errors: InvalidArgument for a number beyond the count, or more than 999.
absl::StatusOr<std::vector<std::string>> PartsOf(const std::string& name);

// The manifest's text, and back. Errors: DataLoss naming what is wrong.
std::string FormatManifest(const StoredModel& model);
absl::StatusOr<StoredModel> ParseManifest(std::string_view text);

}  // namespace corpgrid::models
