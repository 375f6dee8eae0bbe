#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "resources/resource_manager.h"
#include "rpc/worker_channel.h"
#include "worker/answer_room.h"

namespace corpgrid::worker {

// A channel whose calls for answers (Generate, Embed) begin when `resources`, which must outlive it
// and its calls, lets them; others pass. A call that ends before it began gives its turn back. One
// that would have to wait for more than a minute ends with ResourceExhausted. `room` hears of those
// that wait, and tells the log how much memory there is.
std::shared_ptr<rpc::WorkerChannel> ThrottleCalls(std::shared_ptr<rpc::WorkerChannel> channel,
                                                  resources::ResourceManager* resources,
                                                  std::shared_ptr<AnswerRoom> room);

// Counts and logs an error of a call, "load-tiny-1", that tells of too little memory.
void NoteRefusal(resources::ResourceManager* resources, const std::string& id,
                 const absl::Status& status);

}  // namespace corpgrid::worker
