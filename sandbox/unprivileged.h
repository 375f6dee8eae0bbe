#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace corpgrid::sandbox {

// For a process started as root: makes `folder` (created 0700 when it does not exist) the property
// of an unprivileged user and becomes that user for good, without groups or capabilities. The user
// is `corpgrid` where the system has one, otherwise a number of the range 61184-65519 that belongs
// to nobody, chosen from the folder's path, so that each agent has its own. Does nothing when the
// process is not root. Returns the user id. Call before threads start. Errors: FailedPrecondition
// naming the folder on the way that the user could not enter.
absl::StatusOr<uint32_t> BecomeUnprivileged(const std::string& folder);

// OK when this machine can make the sandboxes that jobs run in; else FailedPrecondition that says
// what is missing (bubblewrap, user namespaces, AppArmor's restriction of them) and how to get it.
absl::Status CheckSandbox();

}  // namespace corpgrid::sandbox
