#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "models/stored_model.h"

namespace corpgrid::models {

// Hands over a file's bytes, a piece at a time. Errors: those of FileError(), Cancelled when `stop`
// (null: never) becomes true, and what `on_bytes` returns.
absl::Status ReadAll(const std::string& path, const std::atomic<bool>* stop,
                     const std::function<absl::Status(std::string_view bytes)>& on_bytes);

// A file's size and SHA-256; `on_read` hears of each piece's size. Errors: as ReadAll().
absl::StatusOr<StoredFile> HashFile(const std::string& path, const std::atomic<bool>* stop,
                                    const std::function<void(uint64_t bytes)>& on_read);

}  // namespace corpgrid::models
