#include "agent/begun.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "agent/files.h"
#include "base/status_macros.h"
#include "crypto/encoding.h"
#include "crypto/hash.h"

namespace corpgrid::agent {
namespace {

constexpr std::string_view kDomain = "corpgrid begun attempt";
constexpr uint32_t kVersion = 1;
constexpr size_t kMaxNoteBytes = 4096;
constexpr size_t kHashBytes = sizeof(crypto::Hash::bytes);

// With its hash, so that what a crash left of it is no note. The length is in the encoding.
std::string NoteOf(std::string_view grid_id, const Attempt& attempt) {
  crypto::Encoder encoder(kDomain, kVersion);
  encoder.Add(grid_id).Add(attempt.id.value).Add(attempt.lease_token);
  const std::string body = encoder.bytes();
  return std::string(crypto::Blake3(body).Raw()) + body;
}

absl::StatusOr<BegunAttempt> ReadNote(std::string_view grid_id, std::string_view note) {
  const std::string_view body = note.substr(std::min(kHashBytes, note.size()));
  if (crypto::Blake3(body).Raw() != note.substr(0, kHashBytes)) {
    return absl::DataLossError("no note");
  }
  crypto::Decoder decoder(body, kDomain, kVersion);
  if (decoder.Text() != grid_id) return absl::NotFoundError("it is of another grid");
  BegunAttempt begun;
  begun.id = AttemptId{decoder.Number()};
  begun.lease_token = decoder.Text();
  RETURN_IF_ERROR(decoder.Finish());
  return begun;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Begun>> Begun::Open(const std::string& folder, uint32_t slots) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  std::vector<Slot> opened;
  // Also those that an earlier run with more slots had.
  for (uint32_t i = 0;; ++i) {
    const std::string path = fmt::format("{}/{}", folder, i);
    if (i >= slots && !std::filesystem::exists(path, error)) break;
    UniqueFd file(open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file.ok()) {
      return absl::FailedPreconditionError(
          fmt::format("cannot make {}: {}", path, std::strerror(errno)));
    }
    opened.push_back({.file = std::move(file)});
  }
  return std::unique_ptr<Begun>(new Begun(std::move(opened)));
}

std::vector<BegunAttempt> Begun::Left(std::string_view grid_id) {
  absl::MutexLock lock(&mutex_);
  std::vector<BegunAttempt> left;
  for (const Slot& slot : slots_) {
    const absl::StatusOr<std::string> note = ReadAt(slot.file.get(), 0, kMaxNoteBytes);
    if (!note.ok()) continue;
    if (absl::StatusOr<BegunAttempt> begun = ReadNote(grid_id, *note); begun.ok()) {
      left.push_back(*std::move(begun));
    }
  }
  return left;
}

void Begun::ForgetLeft() {
  absl::MutexLock lock(&mutex_);
  for (Slot& slot : slots_) {
    slot.synced = true;  // as far as is known
    EndLocked(slot);
  }
}

void Begun::Begin(std::string_view grid_id, uint32_t slot, const Attempt& attempt) {
  const std::string note = NoteOf(grid_id, attempt);
  int file = -1;
  {
    absl::MutexLock lock(&mutex_);
    if (closed_) return;
    Slot& own = slots_.at(slot);
    file = own.file.get();
    own.synced = attempt.careful;
    // Notes of a grid are of one length, or nearly: what is left of a longer one is cut off.
    if (ftruncate(file, static_cast<off_t>(note.size())) != 0 ||
        pwrite(file, note.data(), note.size(), 0) != static_cast<ssize_t>(note.size())) {
      spdlog::warn("should this device die of attempt {}, nobody will know: {}", attempt.id.value,
                   std::strerror(errno));
    }
  }
  if (attempt.careful) fsync(file);
}

void Begun::End(uint32_t slot) {
  absl::MutexLock lock(&mutex_);
  EndLocked(slots_.at(slot));
}

// A note that is on the disk for sure has to go from there as well: else the next crash would tell
// of it.
void Begun::EndLocked(Slot& slot) {
  constexpr char kNothing[kHashBytes] = {};
  if (pwrite(slot.file.get(), kNothing, sizeof kNothing, 0) < 0) {
    spdlog::warn("a note of what runs cannot be taken back: {}", std::strerror(errno));
  }
  if (std::exchange(slot.synced, false)) fsync(slot.file.get());
}

void Begun::Close() {
  absl::MutexLock lock(&mutex_);
  closed_ = true;
  for (Slot& slot : slots_) EndLocked(slot);
}

}  // namespace corpgrid::agent
