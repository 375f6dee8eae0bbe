#include "scheduler/result_check.h"

#include <optional>
#include <string>
#include <utility>

#include "audit/batch_signature.h"
#include "base/status_macros.h"
#include "crypto/signature.h"
#include "fmt/format.h"
#include "job/spec.h"
#include "job/statement.h"

namespace corpgrid::scheduler {
namespace pb = corpgrid::v1;
namespace {

constexpr size_t kMaxTailBytes = 64 << 10;  // of stdout and of stderr kept with a result

std::string Bounded(const std::string& text, size_t max) { return text.substr(0, max); }

absl::StatusOr<core::ResultRow> ParseResult(const pb::Result& result) {
  core::ResultRow row;
  row.attempt = AttemptId{result.attempt_id()};
  if (result.outcome() < static_cast<uint32_t>(job::Outcome::kExited) ||
      result.outcome() > static_cast<uint32_t>(job::Outcome::kGivenBack)) {
    return absl::InvalidArgumentError(fmt::format("no outcome {}", result.outcome()));
  }
  row.result.outcome = static_cast<job::Outcome>(result.outcome());
  row.result.exit_code = result.exit_code();
  for (const pb::OutputRef& output : result.outputs()) {
    ASSIGN_OR_RETURN(const crypto::Hash hash, crypto::Hash::FromRaw(output.hash()));
    row.result.outputs.push_back({output.name(), hash, output.size_bytes()});
  }
  row.signature = Bounded(result.signature(), audit::kMaxSignatureBytes);
  row.detail = Bounded(result.detail(), 1000);
  row.stdout_tail = Bounded(result.stdout_tail(), kMaxTailBytes);
  row.stderr_tail = Bounded(result.stderr_tail(), kMaxTailBytes);
  row.wall_ms = result.wall_ms();
  row.cpu_ms = result.cpu_ms();
  row.max_rss_bytes = result.max_rss_bytes();
  return row;
}

// Whether the outputs are the ones that the spec asks for, and are here. Failed attempts have none.
bool BytesAreStaged(const Grant& grant, const job::Result& result) {
  if (!result.succeeded()) return result.outputs.empty();
  const job::JobFields& spec = *grant.job->spec;
  if (result.outputs.size() != spec.outputs.size()) return false;
  for (size_t i = 0; i < result.outputs.size(); ++i) {
    const job::Output& output = result.outputs[i];
    if (output.name != job::Expand(spec.outputs[i], spec, grant.shard.index)) return false;
    const auto staged = grant.staged.find(output.name);
    if (staged == grant.staged.end() ||
        staged->second != objects::ObjectRef{output.hash, output.size_bytes}) {
      return false;
    }
  }
  return true;
}

// Finds out what each result of one call is worth.
class Checker {
 public:
  Checker(std::string_view grid_id, const GrantTable& grants, const AgentIdentity& agent,
          const crypto::PublicKey& key)
      : grid_id_(grid_id), grants_(grants), agent_(agent), key_(key) {}

  // One signature for all of them. Errors: those of SignedBatch::Check.
  absl::Status OpenBatch(const pb::SubmitResultRequest& request) {
    leaves_.reserve(static_cast<size_t>(request.results_size()));
    for (const pb::Result& result : request.results()) {
      ASSIGN_OR_RETURN(leaves_.emplace_back(), audit::TreeHash::FromRaw(result.signature()));
    }
    ASSIGN_OR_RETURN(batch_, audit::SignedBatch::Check(key_, leaves_, request.signature()));
    return absl::OkStatus();
  }

  // The call's `index`th result.
  core::HandedIn Check(size_t index, const pb::Result& result) const {
    core::HandedIn in = Unproven(result);
    auto row = ParseResult(result);
    const auto grant = grants_.Find(in.row.attempt);
    if (!row.ok() || !grant.ok()) return in;
    in.row = *std::move(row);
    const job::ResultStatement statement{.grid_id = grid_id_,
                                         .device = agent_.device,
                                         .shard = grant->shard,
                                         .attempt = in.row.attempt,
                                         .lease_token = grant->token,
                                         .bundle = grant->job->row.bundle_hash,
                                         .spec = grant->job->row.spec_hash,
                                         .result_key = in.row.result.Key()};
    if (!IsSigned(index, statement.Encode(), &in.row.signature)) return in;
    in.proof =
        BytesAreStaged(*grant, in.row.result) ? core::Proof::kGood : core::Proof::kBytesMissing;
    return in;
  }

  // Of an attempt that ended the core knows more.
  static core::HandedIn Unproven(const pb::Result& result) {
    core::HandedIn in;
    in.row.attempt = AttemptId{result.attempt_id()};
    in.lease_token = result.lease_token();
    in.proof = core::Proof::kBadSignature;
    return in;
  }

 private:
  // What is kept of a batch's is what shows this statement alone.
  bool IsSigned(size_t index, std::string_view statement, std::string* signature) const {
    if (!batch_) return audit::VerifyStatement(key_, statement, *signature).ok();
    if (audit::LeafHash(statement) != leaves_[index]) return false;
    *signature = batch_->SignatureOf(index);
    return true;
  }

  const std::string_view grid_id_;
  const GrantTable& grants_;
  const AgentIdentity& agent_;
  const crypto::PublicKey& key_;
  std::vector<audit::TreeHash> leaves_;
  std::optional<audit::SignedBatch> batch_;
};

}  // namespace

std::vector<core::HandedIn> CheckResults(std::string_view grid_id, const GrantTable& grants,
                                         const AgentIdentity& agent,
                                         const pb::SubmitResultRequest& request) {
  std::vector<core::HandedIn> results;
  results.reserve(static_cast<size_t>(request.results_size()));
  const auto key = crypto::PublicKey::FromRaw(agent.public_key);
  std::optional<Checker> checker;
  if (key.ok()) checker.emplace(grid_id, grants, agent, *key);
  if (checker && !request.signature().empty() && !checker->OpenBatch(request).ok()) checker.reset();
  for (const pb::Result& result : request.results()) {
    results.push_back(checker ? checker->Check(results.size(), result) : Checker::Unproven(result));
  }
  return results;
}

}  // namespace corpgrid::scheduler
