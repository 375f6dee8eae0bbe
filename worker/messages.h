#pragma once

#include "absl/status/statusor.h"
#include "corpgrid/v1/worker.pb.h"
#include "inference/engine.h"
#include "inference/request.h"
#include "worker/host.h"

namespace corpgrid::worker {

// The request with its defaults in place of what is absent. Errors: InvalidArgument.
absl::StatusOr<corpgrid::v1::LoadRequest> FillIn(corpgrid::v1::LoadRequest request);

// `seed`: for a request without one. Errors: InvalidArgument, and those of Tokenize().
absl::StatusOr<inference::Request> ToRequest(const corpgrid::v1::GenerateRequest& message,
                                             const inference::Vocabulary& vocabulary,
                                             uint64_t seed);

void Fill(const inference::Delta& delta, const inference::Vocabulary& vocabulary,
          corpgrid::v1::Piece* piece);
void Fill(const inference::End& end, corpgrid::v1::AnswerEnd* message);
void Fill(const HostedModel& model, corpgrid::v1::LoadResponse* message);
void Fill(const inference::EngineStats& stats, corpgrid::v1::GetStatsResponse* message);

}  // namespace corpgrid::worker
