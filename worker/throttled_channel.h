#pragma once

#include <memory>

#include "resources/resource_manager.h"
#include "rpc/worker_channel.h"

namespace corpgrid::worker {

// Tells how much memory an answer needs of what is there for answers, for logs.
using AnswerMemory = std::function<void(resources::ResourceManager::Request*)>;

// A channel whose calls for answers (Generate, Embed) begin when `resources`, which must outlive it
// and its calls, lets them; others pass. A call that ends before it began gives its turn back. One
// that would have to wait for more than a minute ends with ResourceExhausted.
std::shared_ptr<rpc::WorkerChannel> ThrottleCalls(std::shared_ptr<rpc::WorkerChannel> channel,
                                                  resources::ResourceManager* resources,
                                                  AnswerMemory memory);

}  // namespace corpgrid::worker
