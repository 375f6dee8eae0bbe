#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace corpgrid::models {

// The program that makes a GGUF file of a Hugging Face folder: $CORPGRID_CONVERTER, or llama.cpp's
// own where the set-up or the system has it. Errors: FailedPrecondition saying how to get it.
absl::StatusOr<std::string> FindConverter();

// Writes the model in `folder` (config.json, *.safetensors, a tokenizer) to the new file `to`. The
// converter sees the model's data only, in `scratch`, a folder that is made for it and goes with
// the call: no programs that came along, and no network if it heeds what it is told. `on_progress`
// hears of the bytes that are written and of about how many. Errors: InvalidArgument for a folder
// that holds no such model, or with the converter's last words; ResourceExhausted when the disk has
// no room; Cancelled when `stop` (null: never) becomes true.
absl::Status ConvertFolder(const std::string& converter, const std::string& folder,
                           const std::string& to, const std::string& scratch,
                           const std::atomic<bool>* stop,
                           const std::function<void(uint64_t done, uint64_t total)>& on_progress);

}  // namespace corpgrid::models
