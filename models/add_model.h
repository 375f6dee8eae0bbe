#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "models/fetch.h"
#include "models/model_store.h"
#include "models/worker_tool.h"

namespace corpgrid::models {

struct AddRequest {
  std::string source;   // as Source::Parse() takes it; a relative path is from this process
  std::string name;     // empty: after the file
  std::string sha256;   // that the one file must have; empty: what the hub says, if it does
  bool link = false;    // of a local file: no copy, the same file under a second name
  bool anyway = false;  // even where this machine's library cannot host it
  Fetcher::Options fetch = {};
  WorkerProgram worker = {};
};

// What is being done, "fetching" or so, and how far it is; `total` is 0 where nobody knows.
using OnAddProgress =
    std::function<void(std::string_view what, uint64_t done_bytes, uint64_t total_bytes)>;

// Puts a GGUF model into the store, with all its parts: fetches or copies, checks size and SHA-256,
// has the library look at it. The store has it then; on an error it does not, and what came is kept
// for the next try where that can go on with it. Errors: those of Source::Parse(),
// ModelStore::Stage(), Fetcher and InspectFile(); FailedPrecondition when it cannot be hosted here.
absl::StatusOr<StoredModel> AddModel(ModelStore* store, const AddRequest& request,
                                     const OnAddProgress& on_progress, const Clock& clock);

// The last part of adding: the library looks at the staged files, and the store has them. `model`
// has its name, source and files. The staging is discarded when it is no model at all.
struct Inspecting {
  bool try_it = true;   // compute a token, where there is memory for that
  bool anyway = false;  // keep what cannot be hosted here
};
absl::StatusOr<StoredModel> InspectAndCommit(Staging* staging, StoredModel model,
                                             const Inspecting& how, const WorkerProgram& worker,
                                             const Clock& clock);

}  // namespace corpgrid::models
