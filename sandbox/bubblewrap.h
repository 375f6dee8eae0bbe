#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace corpgrid::sandbox {

// What a sandbox shows of the host, besides /usr and a few harmless device nodes.
struct View {
  std::string program;     // read-only at kProgramPath
  std::string bundle_dir;  // read-only at /bundle; empty: none
  std::string input_dir;   // read-only at /input; empty: none
  bool network = false;    // the host's network, its name service and certificates
};

inline constexpr const char* kProgramPath = "/corpgrid-runner";

// The path of bubblewrap. Errors: FailedPrecondition that says how to get it.
absl::StatusOr<std::string> FindBubblewrap();

// The command line that runs `argv` as PID 1 of a new sandbox. It still may mount within the
// sandbox and drop its own bounding set, and its root is still writable: whoever runs in it first
// makes /etc and the work folders and then gives both up (runner/inside/setup.h). Any thread.
std::vector<std::string> BubblewrapCommand(const std::string& bubblewrap, const View& view,
                                           const std::vector<std::string>& argv);

// Why bubblewrap, which said `complaint`, may have failed: what the settings under `proc_sys`
// forbid and how to allow it.
std::string Diagnose(const std::string& proc_sys, const std::string& complaint);

}  // namespace corpgrid::sandbox
