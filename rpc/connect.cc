#include "rpc/connect.h"

#include <fcntl.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/status_macros.h"
#include "fmt/format.h"
#include "nlohmann/json.hpp"
#include "rpc/protocol.h"

namespace corpgrid::rpc {
namespace {

std::string GridPath(const std::string& data_folder) { return data_folder + "/grid.json"; }

}  // namespace

absl::StatusOr<GridFile> GridFile::Read(const std::string& data_folder) {
  const std::string path = GridPath(data_folder);
  std::ifstream in(path);
  if (!in) {
    return absl::NotFoundError(fmt::format(
        "no grid is running in {} ({}); start one with `corpgrid up --data {}`, or name the right "
        "folder with --data",
        data_folder, std::strerror(errno), data_folder));
  }
  const nlohmann::json json = nlohmann::json::parse(in, nullptr, /*allow_exceptions=*/false);
  GridFile file;
  const auto text = [&](const char* key) {
    return json.is_object() && json.contains(key) && json[key].is_string()
               ? json[key].get<std::string>()
               : std::string();
  };
  file.address = text("address");
  file.grid_id = text("grid_id");
  file.token = text("token");
  if (json.is_object() && json.contains("pid") && json["pid"].is_number_integer()) {
    file.pid = json["pid"].get<int64_t>();
  }
  if (file.address.empty() || file.token.empty()) {
    return absl::DataLossError(
        fmt::format("{} is damaged; restart the scheduler, which writes it anew", path));
  }
  return file;
}

absl::Status GridFile::Write(const std::string& data_folder) const {
  const std::string path = GridPath(data_folder);
  const std::string temporary = path + ".new";
  const std::string text =
      nlohmann::json{{"address", address}, {"grid_id", grid_id}, {"token", token}, {"pid", pid}}
          .dump(2) +
      "\n";
  const int fd =
      open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  const bool written =
      fd >= 0 && write(fd, text.data(), text.size()) == std::ssize(text) && fsync(fd) == 0;
  const int error = errno;
  if (fd >= 0) close(fd);
  if (!written || rename(temporary.c_str(), path.c_str()) != 0) {
    return absl::UnavailableError(
        fmt::format("cannot write {}: {}", path, std::strerror(written ? errno : error)));
  }
  return absl::OkStatus();
}

absl::Status CheckLoopback(const std::string& address) {
  const size_t colon = address.rfind(':');
  const std::string host = address.substr(0, colon);
  uint16_t port = 0;
  const char* const end = address.data() + address.size();
  const char* const begin = colon == std::string::npos ? end : address.data() + colon + 1;
  const auto [stop, error] = std::from_chars(begin, end, port);
  if (stop != end || error != std::errc()) {
    return absl::InvalidArgumentError(
        fmt::format("\"{}\" is no address; expected HOST:PORT with a port up to 65535, for example "
                    "127.0.0.1:50051",
                    address));
  }
  if (host != "localhost" && host != "[::1]" && !host.starts_with("127.")) {
    return absl::UnimplementedError(fmt::format(
        "{} is not on this machine: connections between machines need certificates, which are not "
        "supported yet; use 127.0.0.1, [::1] or localhost",
        host));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect(const std::string& address) {
  RETURN_IF_ERROR(CheckLoopback(address));
  // A connection is noticed to stand only when somebody polls: calls do, but they fail at once
  // while there is none, and gRPC by itself looks every 5 s, longer than an attempt may take.
  // Leases of 10 s ran out after 4 s without a network. gRPC reads this when it starts, with the
  // first channel.
  setenv("GRPC_CLIENT_CHANNEL_BACKUP_POLL_INTERVAL_MS", "200", /*replace=*/0);
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  // Both how long one attempt may take, so that a busy machine needs more than the moment that is
  // usual, and (seen in gRPC 1.51) the time from one attempt to the next, which keeps an agent away
  // from a scheduler that is back: with 5 s, leases of 10 s ran out.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1500);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // A peer that was stopped or cut off does not close its connection; only silence tells. gRPC
  // makes the second value TCP's as well: what nobody acknowledges for so long ends the connection.
  // A laptop in another network keeps its leases of 10 s only if it is back well before that (with
  // 10 s here they ran out).
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 3'000);
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

void PrepareCall(grpc::ClientContext* context, int64_t deadline_ms, const char* key,
                 const std::string& secret) {
  context->set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(deadline_ms));
  TellProtocol(context);
  if (!secret.empty()) context->AddMetadata(key, secret);
}

}  // namespace corpgrid::rpc
