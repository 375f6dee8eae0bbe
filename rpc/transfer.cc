#include "rpc/transfer.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/status_macros.h"
#include "fmt/format.h"
#include "rpc/connect.h"
#include "rpc/status.h"

namespace corpgrid::rpc {
namespace {

namespace pb = corpgrid::v1;

constexpr size_t kPartBytes = 256 << 10;
// Large objects over slow lines take long; a dead connection ends a call by itself.
constexpr int64_t kCallMs = 24 * 3600 * 1000;

// Only a lost connection or a server that starts anew is worth another try.
bool WorthRepeating(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE;
}

void BackOff(int tries) {
  std::this_thread::sleep_for(std::chrono::milliseconds(100 << std::min(tries, 5)));
}

}  // namespace

std::shared_ptr<void> ObjectsClient::BeginCall(grpc::ClientContext* context) const {
  PrepareCall(context, kCallMs, key_, secret_);
  return on_call_ ? on_call_(context) : nullptr;
}

absl::StatusOr<uint64_t> ObjectsClient::ResumeOffset(const Upload& upload) {
  grpc::ClientContext context;
  const std::shared_ptr<void> call = BeginCall(&context);
  pb::StagedRequest request;
  *request.mutable_grant() = upload.grant;
  request.set_name(upload.name);
  pb::StagedResponse response;
  RETURN_IF_ERROR(FromGrpc(stub_->Staged(&context, request, &response)));
  // A complete upload is sent again from its start: the server replaces it or, if equal, says so.
  return response.object().hash().empty() ? response.object().size_bytes() : 0;
}

absl::Status ObjectsClient::SendOne(Writer* writer, const Upload& upload, uint64_t offset,
                                    const std::function<void(uint64_t)>& count) {
  pb::PutRequest message;
  *message.mutable_start()->mutable_grant() = upload.grant;
  message.mutable_start()->set_name(upload.name);
  message.mutable_start()->set_offset(offset);
  while (true) {
    ASSIGN_OR_RETURN(std::string data, upload.read_at(offset, kPartBytes));
    offset += data.size();
    message.set_last(data.size() < kPartBytes);
    message.set_data(std::move(data));
    // A failed write means that the call is over; its status says why.
    if (!writer->Write(message)) return absl::OkStatus();
    count(message.data().size());
    if (message.last()) return absl::OkStatus();
    message.Clear();
  }
}

absl::StatusOr<std::vector<pb::StagedObject>> ObjectsClient::Put(
    std::span<const Upload> uploads, const std::function<void(uint64_t)>& progress) {
  for (int tries = 0;; ++tries) {
    grpc::ClientContext context;
    const std::shared_ptr<void> call = BeginCall(&context);
    pb::PutResponse response;
    const auto writer = stub_->Put(&context, &response);
    uint64_t sent = 0;
    const auto count = [&](uint64_t more) {
      sent += more;
      if (progress) progress(sent);
    };
    absl::Status local;
    for (const Upload& upload : uploads) {
      uint64_t offset = 0;
      if (tries > 0) {
        const absl::StatusOr<uint64_t> resume = ResumeOffset(upload);
        if (resume.ok()) offset = *resume;
      }
      sent += offset;
      local = SendOne(writer.get(), upload, offset, count);
      if (!local.ok()) break;
    }
    if (!local.ok()) context.TryCancel();
    writer->WritesDone();
    const grpc::Status status = writer->Finish();
    if (!local.ok()) return local;
    if (status.ok()) {
      return std::vector<pb::StagedObject>(response.objects().begin(), response.objects().end());
    }
    if (!WorthRepeating(status) || tries + 1 >= kTries) return FromGrpc(status);
    BackOff(tries);
  }
}

absl::Status ObjectsClient::Get(const pb::Grant& grant, const crypto::Hash& hash,
                                uint64_t max_bytes,
                                const std::function<absl::Status(std::string_view)>& sink) {
  crypto::Hasher hasher;
  uint64_t received = 0;
  for (int tries = 0;; ++tries) {
    grpc::ClientContext context;
    const std::shared_ptr<void> call = BeginCall(&context);
    pb::GetRequest request;
    *request.mutable_grant() = grant;
    request.set_hash(std::string(hash.Raw()));
    request.set_offset(received);
    const auto reader = stub_->Get(&context, request);
    pb::GetResponse part;
    absl::Status local;
    while (local.ok() && reader->Read(&part)) {
      received += part.data().size();
      hasher.Update(part.data());
      local =
          received > max_bytes
              ? absl::DataLossError(fmt::format("more than the {} announced bytes came", max_bytes))
              : sink(part.data());
    }
    if (!local.ok()) context.TryCancel();
    const grpc::Status status = reader->Finish();
    RETURN_IF_ERROR(local);
    if (status.ok()) break;
    if (!WorthRepeating(status) || tries + 1 >= kTries) return FromGrpc(status);
    BackOff(tries);
  }
  if (hasher.Finish() != hash) {
    return absl::DataLossError(
        fmt::format("object {} arrived with other bytes than its hash says", hash.Hex()));
  }
  return absl::OkStatus();
}

ObjectsClient::Upload UploadBytes(pb::Grant grant, std::string name, std::string_view data) {
  return {std::move(grant), std::move(name), [data](uint64_t offset, size_t max) {
            return std::string(data.substr(std::min<uint64_t>(offset, data.size()), max));
          }};
}

ObjectsClient::Upload UploadFd(pb::Grant grant, std::string name, int fd) {
  return {std::move(grant), std::move(name),
          [fd](uint64_t offset, size_t max) -> absl::StatusOr<std::string> {
            std::string data(max, '\0');
            size_t filled = 0;
            while (filled < max) {
              const ssize_t n = pread(fd, data.data() + filled, max - filled,
                                      static_cast<off_t>(offset + filled));
              if (n < 0 && errno == EINTR) continue;
              if (n < 0)
                return absl::UnavailableError(fmt::format("read: {}", std::strerror(errno)));
              if (n == 0) break;
              filled += static_cast<size_t>(n);
            }
            data.resize(filled);
            return data;
          }};
}

}  // namespace corpgrid::rpc
