#pragma once

#include "absl/status/status.h"

namespace corpgrid::agent {

// Whether the same call may succeed later without anything being different on our side.
inline bool IsTransient(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kUnauthenticated:  // the scheduler restarted: we register again
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kUnknown:
      return true;
    default:
      return false;
  }
}

}  // namespace corpgrid::agent
