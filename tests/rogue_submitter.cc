// Submits a job whose bundle is any bytes at all: what a modified `corpgrid job submit` could send.
//
//   rogue_submitter DATA KEYFILE ARCHIVE MODE COMMAND…
//
// MODE is "signed", or what is wrong: "other-bundle", "other-spec", "other-grid" (the signature is
// over something else), "no-signature". Prints the job's id, or the error and exits with 1.
#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/status_macros.h"
#include "corpgrid/v1/jobs.grpc.pb.h"
#include "corpgrid/v1/objects.grpc.pb.h"
#include "crypto/signature.h"
#include "job/spec.h"
#include "job/statement.h"
#include "rpc/connect.h"
#include "rpc/status.h"
#include "rpc/transfer.h"

namespace corpgrid {
namespace {

namespace pb = corpgrid::v1;

std::string Signature(const crypto::KeyPair& key, const std::string& grid_id,
                      const std::string& bundle, const std::string& spec, const std::string& mode) {
  if (mode == "no-signature") return "";
  return key.Sign(job::JobStatement(mode == "other-grid" ? "another grid" : grid_id,
                                    crypto::Blake3(mode == "other-bundle" ? "else" : bundle),
                                    crypto::Blake3(mode == "other-spec" ? "else" : spec)));
}

absl::StatusOr<uint64_t> Submit(const std::string& data, const std::string& key_file,
                                const std::string& archive, const std::string& mode,
                                std::vector<std::string> command) {
  ASSIGN_OR_RETURN(const rpc::GridFile grid, rpc::GridFile::Read(data));
  ASSIGN_OR_RETURN(const crypto::KeyPair key, crypto::KeyPair::LoadOrCreate(key_file));
  ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, rpc::Connect(grid.address));
  job::JobFields fields;
  fields.name = "hostile";
  fields.command = std::move(command);
  fields.resources.memory_bytes = 64 << 20;
  ASSIGN_OR_RETURN(const job::JobSpec spec, job::JobSpec::Make(std::move(fields)));
  std::ifstream file(archive, std::ios::binary);
  const std::string bundle{std::istreambuf_iterator<char>(file), {}};
  const std::string spec_bytes = spec.Encode();

  pb::Grant grant;
  grant.set_upload_id("rogue-" + crypto::Blake3(crypto::RandomBytes(16)).Hex());
  const auto objects = pb::Objects::NewStub(channel);
  const std::vector<rpc::ObjectsClient::Upload> uploads = {
      rpc::UploadBytes(grant, "spec", spec_bytes), rpc::UploadBytes(grant, "bundle", bundle)};
  rpc::ObjectsClient client(objects.get(), rpc::kTokenKey, grid.token);
  RETURN_IF_ERROR(client.Put(uploads).status());

  pb::SubmitRequest request;
  request.set_idempotency_key(grant.upload_id());
  request.set_upload_id(grant.upload_id());
  request.set_submitter_key(std::string(key.public_key().Raw()));
  request.set_signature(Signature(key, grid.grid_id, bundle, spec_bytes, mode));
  pb::SubmitResponse reply;
  grpc::ClientContext context;
  rpc::PrepareCall(&context, 30'000, rpc::kTokenKey, grid.token);
  RETURN_IF_ERROR(rpc::FromGrpc(pb::Jobs::NewStub(channel)->Submit(&context, request, &reply)));
  return reply.job_id();
}

}  // namespace
}  // namespace corpgrid

int main(int argc, char** argv) {
  if (argc < 6) {
    std::fprintf(stderr, "usage: rogue_submitter DATA KEYFILE ARCHIVE MODE COMMAND...\n");
    return 2;
  }
  const auto job = corpgrid::Submit(argv[1], argv[2], argv[3], argv[4],
                                    std::vector<std::string>(argv + 5, argv + argc));
  if (!job.ok()) {
    std::fprintf(stderr, "rogue_submitter: %s\n", job.status().ToString().c_str());
    return 1;
  }
  std::printf("%llu\n", static_cast<unsigned long long>(*job));
  return 0;
}
