#include "models/receive.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <system_error>

#include "base/file.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "models/add_model.h"
#include "models/file_io.h"
#include "models/sha256.h"

namespace corpgrid::models {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxFiles = 999;
constexpr uint64_t kMaxBytes = uint64_t{1} << 50;
constexpr size_t kMaxKeyBytes = 4096;
constexpr uint64_t kSpareBytes = 1 << 20;  // for what a model has beside its files
constexpr int64_t kInspectionTimeoutMs = 600'000;

// Names that a store gives to files of its own.
bool IsStoresOwn(const std::string& name) {
  return name == "manifest.json" || name == "source" || name.ends_with(".part") ||
         name.ends_with(".state") || name.ends_with(".new");
}

absl::Status Check(const Receiver::Part& part) {
  RETURN_IF_ERROR(CheckModelName(part.model));
  if (part.files.empty() || part.files.size() > kMaxFiles || part.file >= part.files.size()) {
    return absl::InvalidArgumentError(
        fmt::format("a model of {} files has no file {}; 1 to {} are taken", part.files.size(),
                    part.file, kMaxFiles));
  }
  std::set<std::string> names;
  for (const StoredFile& file : part.files) {
    if (file.name.empty() || SafeFileName(file.name) != file.name || IsStoresOwn(file.name) ||
        !names.insert(file.name).second) {
      return absl::InvalidArgumentError(
          fmt::format("a file of a model cannot be called \"{}\"", file.name));
    }
    if (!IsSha256(file.sha256) || file.bytes == 0 || file.bytes > kMaxBytes) {
      return absl::InvalidArgumentError(
          fmt::format("{} has an impossible size or SHA-256", file.name));
    }
  }
  const uint64_t bytes = part.files[part.file].bytes;
  if (part.offset > bytes || part.bytes.size() > bytes - part.offset) {
    return absl::InvalidArgumentError(fmt::format("{} has {} bytes, not {} at {}",
                                                  part.files[part.file].name, bytes,
                                                  part.bytes.size(), part.offset));
  }
  return absl::OkStatus();
}

std::vector<fs::path> PathsIn(const fs::path& folder) {
  std::vector<fs::path> paths;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    paths.push_back(it->path());
  }
  return paths;
}

// Of all that is below, whatever it is.
uint64_t BytesIn(const fs::path& folder) {
  uint64_t sum = 0;
  std::error_code error, gone;
  for (fs::recursive_directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    const uint64_t size = it->is_regular_file(gone) ? it->file_size(gone) : 0;
    if (!gone) sum += size;
  }
  return sum;
}

std::string KeyOf(const StoredModel& model) {
  Sha256 sum;
  for (const StoredFile& file : model.files) {
    sum.Add(fmt::format("{}\n{}\n{}\n", file.name, file.bytes, file.sha256));
  }
  return fmt::format("sent as {}, sha256:{}", model.name, sum.Digits());
}

}  // namespace

absl::Status Receiver::CheckRoom(const StoredModel& model, const std::string& key) const {
  const fs::path staging = fs::path(folder_) / ".staging";
  const fs::path own = staging / model.name;
  const bool goes_on = ReadFile(own / "source", kMaxKeyBytes).value_or("") == key;
  std::vector<std::string> unfinished;
  for (const fs::path& path : PathsIn(staging)) {
    if (path != own) unfinished.push_back(path.filename());
  }
  if (unfinished.size() >= kMaxUnfinished) {
    return absl::ResourceExhaustedError(
        fmt::format("{} models were begun and not finished: finish one, or remove it: {}",
                    unfinished.size(), fmt::join(unfinished, ", ")));
  }
  uint64_t others = 0, there = 0;
  size_t models = 0;
  for (const fs::path& path : PathsIn(folder_)) {
    if (path != staging) others += path.filename() == ".quantised" ? 0 : BytesIn(path);
    if (!path.filename().string().starts_with('.')) ++models;
  }
  for (const fs::path& path : PathsIn(staging)) (path == own ? there : others) += BytesIn(path);
  if (models >= kMaxModels) {
    return absl::ResourceExhaustedError(
        fmt::format("{} models were sent to it, and more are not taken; remove some", models));
  }
  if (most_bytes_) {
    const uint64_t room = *most_bytes_ - std::min(*most_bytes_, others);
    if (model.bytes() > room) {
      return absl::ResourceExhaustedError(fmt::format(
          "{} has {}, and models that are sent here may have {} more on disk; those that are here "
          "have {}",
          model.name, FormatBytes(model.bytes()), FormatBytes(room), FormatBytes(others)));
    }
  }
  return CheckDisk(model.bytes() - (goes_on ? std::min(model.bytes(), there) : 0));
}

absl::Status Receiver::CheckDisk(uint64_t more_bytes) const {
  std::error_code error;
  const fs::space_info disk = fs::space(folder_, error);
  if (error) return FileError(folder_, "look at", error.value());
  const uint64_t spare = most_bytes_ ? kSpareBytes : disk.capacity / 10;
  if (disk.available >= spare && disk.available - spare >= more_bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      fmt::format("{} more are needed and its disk has {} left, of which {} stay free",
                  FormatBytes(more_bytes), FormatBytes(disk.available), FormatBytes(spare)));
}

absl::Status Receiver::Begin(ModelStore* store, StoredModel model, const std::string& key) {
  // First: what came of other files of that name is not forgotten for what is refused.
  RETURN_IF_ERROR(CheckRoom(model, key));
  ASSIGN_OR_RETURN(Staging staging, store->Stage(model.name, key));
  incoming_.emplace(Incoming{.model = std::move(model), .key = key, .staging = std::move(staging)});
  return absl::OkStatus();
}

absl::Status Receiver::Append(const Part& part) {
  Incoming& in = *incoming_;
  const bool wanted = part.file == in.at && part.offset == in.file->bytes();
  if (!wanted || part.bytes.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(CheckDisk(part.bytes.size()));
  return in.file->Append(part.bytes);
}

absl::Status Receiver::OpenFile(const std::atomic<bool>& stop) {
  Incoming& in = *incoming_;
  if (in.file) return absl::OkStatus();
  const StoredFile& file = in.model.files[in.at];
  ASSIGN_OR_RETURN(StagedFile opened, StagedFile::Open(in.staging, file.name, &stop));
  // Told at once: without a word of its origin nothing of it would be gone on with.
  if (opened.origin() != file.sha256 || opened.bytes() > file.bytes) {
    RETURN_IF_ERROR(opened.Restart(file.sha256));
  }
  in.file.emplace(std::move(opened));
  return absl::OkStatus();
}

absl::StatusOr<Receiver::Wanted> Receiver::Advance(const std::atomic<bool>& stop) {
  Incoming& in = *incoming_;
  for (; in.at < in.model.files.size(); ++in.at, in.file.reset()) {
    const StoredFile& file = in.model.files[in.at];
    RETURN_IF_ERROR(OpenFile(stop));
    if (in.file->finished()) continue;
    if (in.file->bytes() < file.bytes) {
      return Wanted{.whole = false, .file = in.at, .offset = in.file->bytes()};
    }
    RETURN_IF_ERROR(in.file->Finish(file.bytes, file.sha256).status());
  }
  // Computing a token would take more of the machine than its owner lends.
  const WorkerProgram worker = {
      .path = worker_path_, .stop = &stop, .timeout_ms = kInspectionTimeoutMs};
  const absl::Status added =
      InspectAndCommit(&in.staging, in.model, {.try_it = false}, worker, *clock_).status();
  if (absl::IsFailedPrecondition(added) || absl::IsInternal(added)) in.staging.Discard();
  RETURN_IF_ERROR(added);
  return Wanted{.whole = true};
}

absl::StatusOr<Receiver::Wanted> Receiver::Take(const Part& part, const std::atomic<bool>& stop) {
  RETURN_IF_ERROR(Check(part));
  StoredModel model;
  model.name = part.model;
  model.files = part.files;
  model.source = model.name + ", sent to this device";
  const std::string key = KeyOf(model);
  if (!incoming_ || incoming_->key != key) {
    ASSIGN_OR_RETURN(const auto store, ModelStore::Open(folder_));
    const absl::StatusOr<StoredModel> there = store->Find(model.name);
    if (there.ok() && there->Digest() == model.Digest()) return Wanted{.whole = true};
    if (there.ok()) {
      return absl::AlreadyExistsError(
          fmt::format("another model {} was sent to it before; remove that first", model.name));
    }
    if (!absl::IsNotFound(there.status())) return there.status();
    if (incoming_ && clock_->MonotonicMs() - incoming_->heard_ms < kPatienceMs) {
      return absl::ResourceExhaustedError(
          fmt::format("model {} is being sent to it; try again later", incoming_->model.name));
    }
    incoming_.reset();
    RETURN_IF_ERROR(Begin(store.get(), std::move(model), key));
  }
  absl::Status kept = OpenFile(stop);
  if (kept.ok()) kept = Append(part);
  absl::StatusOr<Wanted> wanted = kept.ok() ? Advance(stop) : kept;
  incoming_->heard_ms = clock_->MonotonicMs();  // it may have been reading for long
  if (!wanted.ok() && incoming_->staging.HasNothing()) incoming_->staging.Discard();
  if (!wanted.ok() || wanted->whole) incoming_.reset();
  return wanted;
}

absl::Status Receiver::Remove(const std::string& model) {
  RETURN_IF_ERROR(CheckModelName(model));
  if (incoming_ && incoming_->model.name == model) incoming_.reset();
  ASSIGN_OR_RETURN(const auto store, ModelStore::Open(folder_));
  return store->Remove(model);
}

}  // namespace corpgrid::models
