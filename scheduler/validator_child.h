#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace corpgrid::scheduler {

// The socket to scheduler::Validator.
inline constexpr int kValidatorFd = 3;
// Begins an answer that is none, because something on this machine failed.
inline constexpr std::string_view kCannotTell = "?";
// What one comparison may take, whatever the job's limit.
inline constexpr int64_t kMaxCompareMs = 600'000;

// What the process does that runs users' validator programs: as root it becomes an unprivileged
// user whose property `folder` is, empties the folder, and then serves one job. Over kValidatorFd
// it
//  - says a frame: empty, or why it can run nothing;
//  - gets the job's spec, a frame, and its bundle, frames up to an empty one;
//  - for each comparison gets the outputs of two results, each output as a frame with its name and
//    its bytes as frames up to an empty one, and answers with a frame: empty when the program took
//    them for the same, kCannotTell and why, else why not.
// Returns OK when the other end is closed.
absl::Status ServeValidator(const std::string& folder, const std::string& runner);

}  // namespace corpgrid::scheduler
