#include "worker/gpus.h"

#include <algorithm>

#include "resources/limits.h"

namespace corpgrid::worker {

corpgrid::v1::Gpu Offer(const inference::Gpu& gpu, uint32_t percent) {
  const uint64_t limit = resources::PercentOf(gpu.total_bytes, percent);
  const uint64_t used = gpu.total_bytes - std::min(gpu.total_bytes, gpu.free_bytes);
  corpgrid::v1::Gpu offer;
  offer.set_name(gpu.name);
  offer.set_backend(gpu.backend);
  offer.set_description(gpu.description);
  offer.set_total_bytes(gpu.total_bytes);
  offer.set_limit_bytes(limit);
  offer.set_free_bytes(limit - std::min(limit, used));
  return offer;
}

}  // namespace corpgrid::worker
