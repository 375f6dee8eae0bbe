#pragma once

#include "absl/status/statusor.h"
#include "corpgrid/v1/worker.pb.h"
#include "worker/host.h"

namespace corpgrid::worker {

// Loads the model of a request whose other values are filled in, with libllama: into the GPU with
// most room where it may and fits, else for processors. Errors:
// ResourceExhausted with the figures when it needs more than the request allows, those of
// Model::Load() and LlamaDecoder::Create().
absl::StatusOr<HostedModel> LoadModel(const corpgrid::v1::LoadRequest& request);

}  // namespace corpgrid::worker
