#pragma once

#include "corpgrid/v1/worker.pb.h"
#include "gateway/fields.h"

namespace corpgrid::gateway {

// Reads what all requests for text have in common into what a worker is asked: temperature, top_p,
// top_k, min_p, penalties, logit_bias, seed, n and stop. Errors stay in `fields`.
void ReadSampling(Fields* fields, corpgrid::v1::GenerateRequest* request);

}  // namespace corpgrid::gateway
