#pragma once

#include <string>

#include "core/commands.h"
#include "core/rows.h"
#include "corpgrid/v1/jobs.pb.h"
#include "job/spec.h"
#include "store/store.h"

// Rows as people are shown them.
namespace corpgrid::scheduler {

void JobToMessage(const core::JobRow& row, const job::JobSpec& spec, const core::JobView& view,
                  corpgrid::v1::Job* out);
// How a job ended, in a sentence.
std::string EndSentence(const core::JobRow& row);
void ShardToMessage(const core::ShardRow& row, corpgrid::v1::Shard* out);
// Adds the attempt to its shard; the winner's outputs become the shard's.
void AttemptToMessage(const store::AttemptRecord& record, const std::string& device_name,
                      double progress, corpgrid::v1::Shard* shard);
void DeviceToMessage(const core::DeviceView& view, corpgrid::v1::Device* out);

}  // namespace corpgrid::scheduler
