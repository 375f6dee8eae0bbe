#include "store/changes.h"

#include <type_traits>

#include "base/status_macros.h"
#include "crypto/encoding.h"
#include "store/row_bytes.h"
#include "store/rows.h"
#include "store/schema.h"

namespace corpgrid::store {
namespace {

constexpr std::string_view kDomain = "corpgrid changes";
constexpr uint64_t kMaxRows = 10'000'000;  // of one class in one batch

// Rows are as old as the schema.
uint32_t Version() { return static_cast<uint32_t>(SchemaVersion()); }

// Fields of an encoding as the columns of a row, which are read from the left, each once.
class FieldColumns final : public Columns {
 public:
  explicit FieldColumns(crypto::Decoder* decoder) : decoder_(decoder) {}
  bool IsNull(int) const override { return false; }
  int64_t Int(int) const override { return decoder_->Signed(); }
  std::string_view Bytes(int) const override { return decoder_->Text(); }

 private:
  crypto::Decoder* const decoder_;
};

template <typename Row>
void AddRows(crypto::Encoder* encoder, const std::vector<Row>& rows) {
  encoder->Add(uint64_t{rows.size()});
  for (const Row& row : rows) AddRow(encoder, row);
}

template <typename Row>
absl::Status TakeRows(crypto::Decoder* decoder, std::vector<Row>* rows) {
  const FieldColumns columns(decoder);
  const uint64_t count = decoder->Count(kMaxRows);
  for (uint64_t i = 0; i < count && decoder->ok(); ++i) {
    RETURN_IF_ERROR(Read(columns, &rows->emplace_back()));
  }
  return absl::OkStatus();
}

}  // namespace

std::string EncodeChanges(const core::WriteBatch& batch) {
  // By name, so that a class of rows that is new does not compile until it is sent.
  const auto& [meta, join_tokens, devices, reputations, projects, models, jobs, job_progress,
               shards, attempts, results, checkpoints, forgotten_checkpoints, audit,
               forgotten_shards, forgotten_jobs] = batch;
  crypto::Encoder encoder(kDomain, Version());
  AddRows(&encoder, meta ? std::vector{*meta} : std::vector<core::MetaRow>());
  AddRows(&encoder, join_tokens);
  AddRows(&encoder, devices);
  AddRows(&encoder, reputations);
  AddRows(&encoder, projects);
  AddRows(&encoder, models);
  AddRows(&encoder, jobs);
  AddRows(&encoder, job_progress);
  AddRows(&encoder, shards);
  AddRows(&encoder, attempts);
  AddRows(&encoder, results);
  AddRows(&encoder, checkpoints);
  encoder.Add(uint64_t{forgotten_checkpoints.size()});
  for (const ShardId& shard : forgotten_checkpoints) {
    encoder.Add(shard.job.value).Add(uint64_t{shard.index});
  }
  encoder.Add(uint64_t{forgotten_shards.size()});
  for (const core::ShardRange& range : forgotten_shards) {
    encoder.Add(range.job.value).Add(uint64_t{range.first}).Add(uint64_t{range.last});
  }
  encoder.Add(uint64_t{forgotten_jobs.size()});
  for (const JobId job : forgotten_jobs) encoder.Add(job.value);
  return encoder.bytes();
}

absl::StatusOr<core::WriteBatch> DecodeChanges(std::string_view bytes) {
  crypto::Decoder decoder(bytes, kDomain, Version());
  core::WriteBatch batch;
  auto& [meta, join_tokens, devices, reputations, projects, models, jobs, job_progress, shards,
         attempts, results, checkpoints, forgotten_checkpoints, audit, forgotten_shards,
         forgotten_jobs] = batch;
  std::vector<core::MetaRow> metas;
  RETURN_IF_ERROR(TakeRows(&decoder, &metas));
  if (!metas.empty()) meta = std::move(metas.back());
  RETURN_IF_ERROR(TakeRows(&decoder, &join_tokens));
  RETURN_IF_ERROR(TakeRows(&decoder, &devices));
  RETURN_IF_ERROR(TakeRows(&decoder, &reputations));
  RETURN_IF_ERROR(TakeRows(&decoder, &projects));
  RETURN_IF_ERROR(TakeRows(&decoder, &models));
  RETURN_IF_ERROR(TakeRows(&decoder, &jobs));
  RETURN_IF_ERROR(TakeRows(&decoder, &job_progress));
  RETURN_IF_ERROR(TakeRows(&decoder, &shards));
  RETURN_IF_ERROR(TakeRows(&decoder, &attempts));
  RETURN_IF_ERROR(TakeRows(&decoder, &results));
  RETURN_IF_ERROR(TakeRows(&decoder, &checkpoints));
  const uint64_t forgotten = decoder.Count(kMaxRows);
  for (uint64_t i = 0; i < forgotten && decoder.ok(); ++i) {
    ShardId& shard = forgotten_checkpoints.emplace_back();
    shard.job.value = decoder.Number();
    shard.index = static_cast<uint32_t>(decoder.Number());
  }
  const uint64_t ranges = decoder.Count(kMaxRows);
  for (uint64_t i = 0; i < ranges && decoder.ok(); ++i) {
    core::ShardRange& range = forgotten_shards.emplace_back();
    range.job.value = decoder.Number();
    range.first = static_cast<uint32_t>(decoder.Number());
    range.last = static_cast<uint32_t>(decoder.Number());
  }
  const uint64_t gone = decoder.Count(kMaxRows);
  for (uint64_t i = 0; i < gone && decoder.ok(); ++i) {
    forgotten_jobs.push_back(JobId{decoder.Number()});
  }
  RETURN_IF_ERROR(decoder.Finish());
  return batch;
}

}  // namespace corpgrid::store
