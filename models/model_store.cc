#include "models/model_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <set>
#include <thread>

#include "base/status_macros.h"
#include "base/text.h"
#include "crypto/hex.h"
#include "crypto/signature.h"
#include "fmt/format.h"
#include "models/file_io.h"

namespace corpgrid::models {
namespace {

namespace fs = std::filesystem;

constexpr char kManifest[] = "manifest.json";
constexpr char kSource[] = "source";  // of what is staged
constexpr size_t kMaxManifestBytes = 16 << 20;
// A listing has the lock for a moment, too.
constexpr int kLockTries = 50;
constexpr auto kLockPause = std::chrono::milliseconds(10);
constexpr auto kKeepUnfinished = std::chrono::hours(7 * 24);

// Whether the open folder is the one of that name. As long as it is open, no other can pass for it.
bool HasName(const UniqueFd& folder, const std::string& path) {
  struct stat open, named;
  return fstat(folder.get(), &open) == 0 && stat(path.c_str(), &named) == 0 &&
         open.st_ino == named.st_ino && open.st_dev == named.st_dev;
}

// The folder, locked; nothing when another process has it. The lock stays with the folder when it
// is renamed, so afterwards it must still be the one of that name.
absl::StatusOr<UniqueFd> LockFolder(const std::string& path) {
  for (int tries = 0;;) {
    if (mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) return FileError(path, "make", errno);
    UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd.ok() && errno == ENOENT) continue;
    if (!fd.ok()) return FileError(path, "open", errno);
    if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) return FileError(path, "lock", errno);
      if (tries++ == kLockTries) {
        return absl::FailedPreconditionError("another process is adding this model");
      }
      std::this_thread::sleep_for(kLockPause);
      continue;
    }
    if (HasName(fd, path)) return fd;
  }
}

uint64_t BytesIn(const std::string& folder) {
  uint64_t sum = 0;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const uint64_t size = entry.is_regular_file(error) ? entry.file_size(error) : 0;
    if (!error) sum += size;
  }
  return sum;
}

void EmptyFolder(const std::string& folder, const std::set<std::string>& keep) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    if (!keep.contains(entry.path().filename().string())) fs::remove_all(entry.path(), error);
  }
}

absl::Status Exists(const std::string& name) {
  return absl::AlreadyExistsError(fmt::format(
      "there is a model {} already; choose another --name, or remove it: corpgrid model rm {}",
      name, name));
}

}  // namespace

absl::Status Staging::Commit(const StoredModel& model) {
  std::set<std::string> wanted = {kManifest};
  for (const StoredFile& file : model.files) {
    RETURN_IF_ERROR(SyncPath(PathOf(file.name)));
    wanted.insert(file.name);
  }
  RETURN_IF_ERROR(WriteFileDurably(PathOf(kManifest), FormatManifest(model)));
  EmptyFolder(folder_, wanted);
  RETURN_IF_ERROR(SyncPath(folder_));
  const std::string final_name = store_ + "/" + name_;
  if (renameat2(AT_FDCWD, folder_.c_str(), AT_FDCWD, final_name.c_str(), RENAME_NOREPLACE) != 0) {
    return errno == EEXIST ? Exists(name_) : FileError(final_name, "make", errno);
  }
  return SyncPath(store_);
}

void Staging::Discard() {
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

bool Staging::HasNothing() const {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_, error)) {
    const std::string name = entry.path().filename().string();
    const bool notes = name == kSource || name.ends_with(".state");
    if (!notes && entry.file_size(error) > 0) return false;
  }
  return true;
}

absl::StatusOr<std::unique_ptr<ModelStore>> ModelStore::Open(const std::string& folder) {
  for (const std::string& path : {folder, folder + "/.staging", folder + "/.removed"}) {
    std::error_code error;
    fs::create_directories(path, error);
    if (error) return FileError(path, "make", error.value());
  }
  return std::unique_ptr<ModelStore>(new ModelStore(folder));
}

absl::StatusOr<std::unique_ptr<ModelStore>> ModelStore::OpenExisting(const std::string& folder) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) {
    return absl::NotFoundError(fmt::format("there is no folder of models {}", folder));
  }
  return std::unique_ptr<ModelStore>(new ModelStore(folder));
}

absl::StatusOr<std::vector<std::string>> ModelStore::Names() const {
  std::vector<std::string> names;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_, error)) {
    std::string name = entry.path().filename().string();
    std::error_code gone;
    if (CheckModelName(name).ok() && entry.is_directory(gone)) names.push_back(std::move(name));
  }
  if (error) {
    return absl::UnavailableError(fmt::format("cannot read {}: {}", folder_, error.message()));
  }
  std::sort(names.begin(), names.end());
  return names;
}

absl::Status ModelStore::NoSuchModel(const std::string& name) const {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, Names());
  const std::string nearest = Nearest(name, names);
  if (!nearest.empty()) {
    return absl::NotFoundError(
        fmt::format("there is no model \"{}\"; did you mean {}?", name, nearest));
  }
  return absl::NotFoundError(fmt::format(
      "there is no model \"{}\" in {}; {}", name, folder_,
      names.empty() ? "it has none: corpgrid model add" : "corpgrid model list names them all"));
}

absl::StatusOr<Listing> ModelStore::List() const {
  Listing listing;
  ASSIGN_OR_RETURN(const std::vector<std::string> names, Names());
  for (const std::string& name : names) {
    absl::StatusOr<StoredModel> model = Find(name);
    if (model.ok()) {
      listing.models.push_back(*std::move(model));
    } else if (model.status().code() != absl::StatusCode::kNotFound) {  // not removed meanwhile
      listing.damaged.push_back(fmt::format("{}: {}", name, std::string(model.status().message())));
    }
  }
  listing.unfinished = ListUnfinished();
  return listing;
}

std::vector<Unfinished> ModelStore::ListUnfinished() const {
  std::vector<Unfinished> all;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_ + "/.staging", error)) {
    Unfinished unfinished;
    unfinished.name = entry.path().filename().string();
    const std::string path = entry.path().string();
    unfinished.source = ReadFile(path + "/" + kSource, 64 << 10).value_or("");
    unfinished.bytes = BytesIn(path);
    const UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd.ok()) continue;  // it has gone meanwhile
    unfinished.running = flock(fd.get(), LOCK_SH | LOCK_NB) != 0;
    all.push_back(std::move(unfinished));
  }
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return all;
}

absl::StatusOr<StoredModel> ModelStore::Find(const std::string& name) const {
  if (!CheckModelName(name).ok()) return NoSuchModel(name);
  const std::string folder = folder_ + "/" + name;
  for (;;) {
    const UniqueFd fd(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd.ok() && errno == ENOENT) return NoSuchModel(name);
    if (!fd.ok()) return FileError(folder, "open", errno);
    absl::StatusOr<StoredModel> model = Read(name);
    // Else it was removed meanwhile, and perhaps added anew: of what was read, nothing counts.
    if (HasName(fd, folder)) return model;
  }
}

absl::StatusOr<StoredModel> ModelStore::Read(const std::string& name) const {
  const std::string path = fmt::format("{}/{}/{}", folder_, name, kManifest);
  const absl::StatusOr<std::string> text = ReadFile(path, kMaxManifestBytes);
  if (!text.ok()) return absl::DataLossError(std::string(text.status().message()));
  absl::StatusOr<StoredModel> model = ParseManifest(*text);
  if (!model.ok()) {
    return absl::DataLossError(fmt::format("{}: {}", path, std::string(model.status().message())));
  }
  if (model->name != name) {
    return absl::DataLossError(fmt::format("{} is of a model {}", path, model->name));
  }
  for (const StoredFile& file : model->files) {
    struct stat info;
    const std::string file_path = PathOf(*model, file.name);
    if (stat(file_path.c_str(), &info) != 0) {
      return absl::DataLossError(
          fmt::format("{} is missing; remove the model and add it again", file_path));
    }
    if (static_cast<uint64_t>(info.st_size) != file.bytes) {
      return absl::DataLossError(
          fmt::format("{} has {} bytes and should have {}; remove the model and add it again",
                      file_path, info.st_size, file.bytes));
    }
  }
  return model;
}

std::string ModelStore::PathOf(const StoredModel& model, const std::string& file) const {
  return fmt::format("{}/{}/{}", folder_, model.name, file.empty() ? model.files[0].name : file);
}

absl::Status ModelStore::Remove(const std::string& name) {
  if (!CheckModelName(name).ok()) return NoSuchModel(name);
  const std::string staged = folder_ + "/.staging/" + name;
  const bool was_staged = fs::exists(staged);
  if (was_staged) {
    ASSIGN_OR_RETURN(const UniqueFd lock, LockFolder(staged));
    std::error_code error;
    fs::remove_all(staged, error);
    if (error) return FileError(staged, "remove", error.value());
  }
  const std::string path = folder_ + "/" + name;
  const std::string removed =
      fmt::format("{}/.removed/{}", folder_, crypto::ToHex(crypto::RandomBytes(8)));
  if (rename(path.c_str(), removed.c_str()) != 0) {
    if (errno != ENOENT) return FileError(path, "remove", errno);
    return was_staged ? absl::OkStatus() : NoSuchModel(name);
  }
  RETURN_IF_ERROR(SyncPath(folder_));
  Collect();
  return absl::OkStatus();
}

absl::StatusOr<Staging> ModelStore::Stage(const std::string& name, const std::string& source) {
  RETURN_IF_ERROR(CheckModelName(name));
  Collect();
  if (fs::exists(folder_ + "/" + name)) return Exists(name);
  absl::StatusOr<UniqueFd> lock = LockFolder(folder_ + "/.staging/" + name);
  if (lock.status().code() == absl::StatusCode::kFailedPrecondition) {
    return absl::FailedPreconditionError(
        fmt::format("another process is adding a model {}; wait for it, or stop it", name));
  }
  RETURN_IF_ERROR(lock.status());
  Staging staging(folder_, name, *std::move(lock));
  // Nobody can have finished it between the look above and the lock, but before that, and gone.
  if (fs::exists(folder_ + "/" + name)) {
    staging.Discard();
    return Exists(name);
  }
  if (ReadFile(staging.PathOf(kSource), 64 << 10).value_or("") != source) {
    EmptyFolder(staging.folder(), {});
  }
  // Each time, so that the folder's age is that of the last try.
  RETURN_IF_ERROR(WriteFileDurably(staging.PathOf(kSource), source));
  return staging;
}

void ModelStore::Collect() {
  EmptyFolder(folder_ + "/.removed", {});
  const auto old = fs::file_time_type::clock::now() - kKeepUnfinished;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_ + "/.staging", error)) {
    const fs::file_time_type changed = fs::last_write_time(entry.path(), error);
    if (error || changed > old) continue;
    const absl::StatusOr<UniqueFd> lock = LockFolder(entry.path().string());
    if (lock.ok()) fs::remove_all(entry.path(), error);
  }
}

}  // namespace corpgrid::models
