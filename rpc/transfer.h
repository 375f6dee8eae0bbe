#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "corpgrid/v1/objects.grpc.pb.h"
#include "crypto/hash.h"

namespace corpgrid::rpc {

// The client's side of the Objects service. Blocking; any thread.
class ObjectsClient {
 public:
  // Told of every call, so that another thread can cancel it; what it returns is released when the
  // call has ended.
  using CallHook = std::function<std::shared_ptr<void>(grpc::ClientContext*)>;

  // `key` and `secret` are the metadata entry of every call (see connect.h). `stub` must outlive
  // the client.
  ObjectsClient(corpgrid::v1::Objects::StubInterface* stub, const char* key, std::string secret,
                CallHook on_call = nullptr)
      : stub_(stub), key_(key), secret_(std::move(secret)), on_call_(std::move(on_call)) {}

  // A file to upload: `read_at` gives at most `max` bytes from an offset on, empty at the end.
  struct Upload {
    corpgrid::v1::Grant grant;
    std::string name;
    std::function<absl::StatusOr<std::string>(uint64_t offset, size_t max)> read_at;
  };

  // Uploads all in one stream; durable on return, in order. A call that broke off is repeated up to
  // `kTries` times with back-off, each file from where the server has it. `progress`, if set, is
  // called with the bytes sent so far.
  absl::StatusOr<std::vector<corpgrid::v1::StagedObject>> Put(
      std::span<const Upload> uploads, const std::function<void(uint64_t)>& progress = nullptr);

  // Streams the object to `sink` and checks it against `hash` as a whole; resumes like Put. What
  // `sink` received before an error must be thrown away. Errors: DataLoss when the bytes are not
  // the hash's, or more than `max_bytes` came.
  absl::Status Get(const corpgrid::v1::Grant& grant, const crypto::Hash& hash, uint64_t max_bytes,
                   const std::function<absl::Status(std::string_view)>& sink);

  static constexpr int kTries = 5;

 private:
  using Writer = grpc::ClientWriterInterface<corpgrid::v1::PutRequest>;

  std::shared_ptr<void> BeginCall(grpc::ClientContext* context) const;
  absl::StatusOr<uint64_t> ResumeOffset(const Upload& upload);
  // Sends one file from `offset` on. `count` gets the bytes of each message. Errors are the
  // file's; those of the call show in its status.
  absl::Status SendOne(Writer* writer, const Upload& upload, uint64_t offset,
                       const std::function<void(uint64_t)>& count);

  corpgrid::v1::Objects::StubInterface* stub_;
  const char* key_;
  std::string secret_;
  CallHook on_call_;
};

// An Upload over bytes in memory; `data` must stay valid.
ObjectsClient::Upload UploadBytes(corpgrid::v1::Grant grant, std::string name,
                                  std::string_view data);

// An Upload over an open file, read with pread; `fd` must stay open.
ObjectsClient::Upload UploadFd(corpgrid::v1::Grant grant, std::string name, int fd);

}  // namespace corpgrid::rpc
