#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace corpgrid::rpc {

inline constexpr char kSessionKey[] = "corpgrid-session-bin";  // agents, after RegisterAgent
inline constexpr char kTokenKey[] = "corpgrid-token";          // people

// The largest message: lists are paged and bytes streamed in parts far below it.
inline constexpr int kMaxMessageBytes = 16 << 20;

// Where a grid is and how to speak to it: `grid.json` (0600) in its data folder, written by the
// scheduler.
struct GridFile {
  std::string address;  // "127.0.0.1:50051"
  std::string grid_id;
  std::string token;  // of the person who started the grid
  int64_t pid = 0;    // of the scheduler

  // Errors: NotFound (with what to do next) when no grid was started there, DataLoss when the file
  // is damaged.
  static absl::StatusOr<GridFile> Read(const std::string& data_folder);
  absl::Status Write(const std::string& data_folder) const;
};

// OK for a loopback host and port ("127.0.0.1:0", "[::1]:50051", "localhost:50051"). Until devices
// enrol with certificates, nothing else is spoken to or listened on. Errors: InvalidArgument for
// what is no address, Unimplemented for other hosts.
absl::Status CheckLoopback(const std::string& address);

// A channel to `address`; it connects when first used and again whenever the connection is lost.
absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect(const std::string& address);

// Prepares a call: deadline, what this program speaks (rpc/protocol.h), and the metadata entry
// (`key`, `secret`).
void PrepareCall(grpc::ClientContext* context, int64_t deadline_ms, const char* key,
                 const std::string& secret);

}  // namespace corpgrid::rpc
