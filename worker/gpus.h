#pragma once

#include "corpgrid/v1/worker.pb.h"
#include "inference/gpu.h"

namespace corpgrid::worker {

// What models may have of a GPU when so many hundredths of its memory may be in use, by whomever.
corpgrid::v1::Gpu Offer(const inference::Gpu& gpu, uint32_t percent);

}  // namespace corpgrid::worker
