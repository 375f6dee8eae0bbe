#include "scheduler/audit_service.h"

#include <algorithm>
#include <limits>

#include "base/status_macros.h"
#include "fmt/format.h"
#include "rpc/status.h"

namespace corpgrid::scheduler {
namespace pb = corpgrid::v1;
namespace {

template <typename Field>
void Fill(const audit::Proof& proof, Field* out) {
  for (const audit::TreeHash& hash : proof) out->Add(std::string(hash.Raw()));
}

void Fill(const core::AuditRow& row, pb::AuditEntry* out) {
  out->set_index(row.index);
  out->set_entry(row.entry);
  out->set_nodes(row.nodes);
}

}  // namespace

absl::Status AuditService::FillCheckpoint(uint64_t old_size, int64_t max_age_ms,
                                          pb::CheckpointResponse* out) {
  ASSIGN_OR_RETURN(const AuditLog::Answer answer, log_->AnswerTo(old_size, max_age_ms));
  out->set_note(answer.newest.note);
  out->set_public_key(std::string(log_->public_key().Raw()));
  out->set_trouble(answer.newest.trouble);
  Fill(answer.consistency, out->mutable_consistency());
  return absl::OkStatus();
}

grpc::Status AuditService::Checkpoint(grpc::ServerContext* context,
                                      const pb::CheckpointRequest* request,
                                      pb::CheckpointResponse* response) {
  const auto who = authenticator_->AuthenticateAgentOrPerson(*context);
  if (!who.ok()) return rpc::ToGrpc(who.status());
  const int64_t max_age_ms = *who == Caller::kAgent ? kMaxAgeForAgentsMs : 0;
  return rpc::ToGrpc(FillCheckpoint(request->old_size(), max_age_ms, response));
}

grpc::Status AuditService::ListEntries(grpc::ServerContext* context,
                                       const pb::ListEntriesRequest* request,
                                       pb::ListEntriesResponse* response) {
  if (const auto who = authenticator_->AuthenticatePerson(*context); !who.ok())
    return rpc::ToGrpc(who);
  const uint32_t limit = request->limit() == 0 ? kMaxPage : std::min(request->limit(), kMaxPage);
  const auto rows = store_->AuditLog(request->first(), limit);
  if (!rows.ok()) return rpc::ToGrpc(rows.status());
  for (const core::AuditRow& row : *rows) Fill(row, response->add_entries());
  return grpc::Status::OK;
}

absl::Status AuditService::CheckSize(uint64_t size) {
  constexpr int64_t kAnyAge = std::numeric_limits<int64_t>::max();
  ASSIGN_OR_RETURN(const AuditLog::Newest newest, log_->Sign(kAnyAge));
  if (size <= newest.checkpoint.size) return absl::OkStatus();
  return absl::OutOfRangeError(
      fmt::format("the last checkpoint has {} entries, not {}", newest.checkpoint.size, size));
}

absl::Status AuditService::FillInclusion(uint64_t index, uint64_t size,
                                         pb::ProveInclusionResponse* out) {
  RETURN_IF_ERROR(CheckSize(size));
  ASSIGN_OR_RETURN(const audit::Proof proof, audit::ProveInclusion(index, size, log_->Reader()));
  ASSIGN_OR_RETURN(const std::vector<core::AuditRow> rows, store_->AuditLog(index, 1));
  if (rows.empty() || rows[0].index != index) {
    return absl::DataLossError(fmt::format("entry {} of the audit log is missing", index));
  }
  Fill(rows[0], out->mutable_entry());
  Fill(proof, out->mutable_proof());
  return absl::OkStatus();
}

grpc::Status AuditService::ProveInclusion(grpc::ServerContext* context,
                                          const pb::ProveInclusionRequest* request,
                                          pb::ProveInclusionResponse* response) {
  if (const auto who = authenticator_->AuthenticatePerson(*context); !who.ok())
    return rpc::ToGrpc(who);
  return rpc::ToGrpc(FillInclusion(request->index(), request->size(), response));
}

}  // namespace corpgrid::scheduler
