#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "cli/client.h"
#include "cli/output.h"
#include "cli/results.h"
#include "cli/submit.h"

namespace corpgrid::cli {

struct SubmitArguments {
  std::string file;
  std::string idempotency_key;  // empty: a new one
  Overrides overrides;
};

// Submits a job file, showing on stderr what takes longer than a second.
absl::StatusOr<Submission> SubmitFile(Client& client, const SubmitArguments& arguments);

// Where a job's results go: `folder`, or NAME-ID in the current one when it is empty. Absolute.
std::string ResultsFolder(const corpgrid::v1::Job& job, const std::string& folder);

// DownloadResults with a bar on stderr, should it take longer than a second.
absl::StatusOr<Download> FetchResults(Client& client, const corpgrid::v1::Job& job,
                                      const std::string& folder);

// Follows a job to its end with a progress bar on stderr, fetches its results if `folder` is given
// and tells what became of it. Returns the exit code.
int FollowJob(const Common& common, Client& client, uint64_t job_id, const std::string& folder);

}  // namespace corpgrid::cli
