#include "agent/journal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "agent/files.h"
#include "base/status_macros.h"
#include "crypto/encoding.h"

namespace corpgrid::agent {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kDomain = "corpgrid finished attempt";
constexpr uint32_t kVersion = 1;
// More than tails, ticket and the outputs that stay in memory can be.
constexpr size_t kMaxRecordBytes = 4 << 20;
constexpr uint64_t kMaxOutputs = 64;
constexpr size_t kReadBytes = 256 << 10;
constexpr size_t kHashBytes = sizeof(crypto::Hash::bytes);

std::string Encode(std::string_view grid_id, const FinishedAttempt& finished) {
  const Attempt& attempt = finished.attempt;
  crypto::Encoder encoder(kDomain, kVersion);
  encoder.Add(grid_id).Add(attempt.id.value);
  encoder.Add(attempt.shard.job.value).Add(uint64_t{attempt.shard.index});
  encoder.Add(attempt.lease_token).Add(attempt.job->SerializeAsString());
  encoder.Add(static_cast<uint64_t>(finished.result.outcome));
  encoder.AddSigned(finished.result.exit_code);
  encoder.Add(finished.detail).Add(finished.stdout_tail).Add(finished.stderr_tail);
  encoder.AddSigned(finished.wall_us).AddSigned(finished.cpu_us).Add(finished.max_rss_bytes);
  encoder.Add(uint64_t{finished.outputs.size()});
  for (const CollectedOutput& output : finished.outputs) {
    encoder.Add(output.output.name).Add(output.output.hash.Raw()).Add(output.output.size_bytes);
    encoder.AddSigned(output.in_memory()).Add(output.data);
  }
  return encoder.bytes();
}

absl::StatusOr<FinishedAttempt> Decode(std::string_view grid_id, std::string_view bytes) {
  crypto::Decoder decoder(bytes, kDomain, kVersion);
  if (decoder.Text() != grid_id) return absl::NotFoundError("it is of another grid");
  FinishedAttempt finished;
  finished.attempt.id = AttemptId{decoder.Number()};
  finished.attempt.shard.job = JobId{decoder.Number()};
  finished.attempt.shard.index = static_cast<uint32_t>(decoder.Count(UINT32_MAX));
  finished.attempt.lease_token = decoder.Text();
  auto ticket = std::make_shared<corpgrid::v1::JobTicket>();
  const bool parsed = ticket->ParseFromString(std::string(decoder.Text()));
  finished.attempt.job = std::move(ticket);
  finished.result.outcome =
      static_cast<job::Outcome>(decoder.Count(static_cast<uint64_t>(job::Outcome::kGivenBack)));
  finished.result.exit_code = static_cast<int32_t>(decoder.Signed());
  finished.detail = decoder.Text();
  finished.stdout_tail = decoder.Text();
  finished.stderr_tail = decoder.Text();
  finished.wall_us = decoder.Signed();
  finished.cpu_us = decoder.Signed();
  finished.max_rss_bytes = decoder.Number();
  for (uint64_t left = decoder.Count(kMaxOutputs); left > 0 && decoder.ok(); --left) {
    CollectedOutput& output = finished.outputs.emplace_back();
    output.output.name = decoder.Text();
    ASSIGN_OR_RETURN(output.output.hash, crypto::Hash::FromRaw(decoder.Text()));
    output.output.size_bytes = decoder.Number();
    output.is_large = decoder.Count(1) == 0;
    output.data = decoder.Text();
    finished.result.outputs.push_back(output.output);
  }
  RETURN_IF_ERROR(decoder.Finish());
  if (!parsed) return absl::DataLossError("its ticket is damaged");
  return finished;
}

absl::StatusOr<std::string> ReadWhole(const std::string& path, size_t max_bytes) {
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!file.ok()) return DeviceError(path, "open");
  return ReadAt(file.get(), 0, max_bytes);
}

absl::StatusOr<crypto::Hash> HashOf(int file) {
  crypto::Hasher hasher;
  for (uint64_t offset = 0;;) {
    ASSIGN_OR_RETURN(const std::string data, ReadAt(file, offset, kReadBytes));
    if (data.empty()) return hasher.Finish();
    offset += data.size();
    hasher.Update(data);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Journal>> Journal::Open(const std::string& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    return absl::FailedPreconditionError(
        fmt::format("cannot make {}: {}", folder, error.message()));
  }
  return std::unique_ptr<Journal>(new Journal(folder));
}

std::string Journal::RecordPath(AttemptId id) const {
  return fmt::format("{}/{}", folder_, id.value);
}

std::string Journal::OutputPath(AttemptId id) const { return RecordPath(id) + "-"; }

absl::Status Journal::Keep(std::string_view grid_id, const FinishedAttempt& finished) const {
  if (finished.wall_us < kWorthKeepingUs) return absl::OkStatus();
  const std::string body = Encode(grid_id, finished);
  const std::string path = RecordPath(finished.attempt.id);
  const UniqueFd file(
      open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file.ok()) return DeviceError(path, "make");
  // With its hash: what a kill cut short is no record.
  return WriteAll(file.get(), std::string(crypto::Blake3(body).Raw()) + body);
}

void Journal::Forget(AttemptId id) const {
  unlink(RecordPath(id).c_str());
  for (uint64_t i = 0; unlink(fmt::format("{}{}", OutputPath(id), i).c_str()) == 0; ++i) continue;
}

absl::StatusOr<FinishedAttempt> Journal::Read(std::string_view grid_id, AttemptId id) const {
  ASSIGN_OR_RETURN(const std::string bytes, ReadWhole(RecordPath(id), kMaxRecordBytes));
  const std::string_view all = bytes;
  if (all.size() < kHashBytes ||
      crypto::Blake3(all.substr(kHashBytes)).Raw() != all.substr(0, kHashBytes)) {
    return absl::DataLossError("it is damaged");
  }
  ASSIGN_OR_RETURN(FinishedAttempt finished, Decode(grid_id, all.substr(kHashBytes)));
  if (finished.attempt.id != id) return absl::DataLossError("it is another attempt's");
  int large = 0;
  for (CollectedOutput& output : finished.outputs) {
    if (!output.is_large) continue;
    const std::string path = fmt::format("{}{}", OutputPath(id), large++);
    output.file = UniqueFd(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    if (!output.file.ok()) return DeviceError(path, "open");
    ASSIGN_OR_RETURN(const crypto::Hash hash, HashOf(output.file.get()));
    if (hash != output.output.hash) return absl::DataLossError("an output of it is damaged");
  }
  return finished;
}

std::vector<FinishedAttempt> Journal::TakeLeft(std::string_view grid_id) const {
  std::vector<FinishedAttempt> left;
  std::set<std::string> ours;
  std::vector<fs::path> found;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_, error)) {
    found.push_back(entry.path());
  }
  for (const fs::path& path : found) {
    const std::string name = path.filename().string();
    AttemptId id;
    const auto [end, bad] = std::from_chars(name.data(), name.data() + name.size(), id.value);
    if (bad != std::errc() || end != name.data() + name.size()) continue;
    absl::StatusOr<FinishedAttempt> finished = Read(grid_id, id);
    if (finished.ok()) {
      ours.insert(name);
      left.push_back(*std::move(finished));
    } else {
      spdlog::warn("the record of finished attempt {} is left out: {}", id.value,
                   std::string(finished.status().message()));
    }
  }
  for (const fs::path& path : found) {
    const std::string name = path.filename().string();
    if (!ours.contains(name.substr(0, name.find('-')))) fs::remove_all(path, error);
  }
  return left;
}

}  // namespace corpgrid::agent
