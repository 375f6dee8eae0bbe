#include "models/add_model.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "base/status_macros.h"
#include "base/text.h"
#include "fmt/format.h"
#include "models/convert.h"
#include "models/file_io.h"
#include "models/hash_file.h"
#include "models/staged_file.h"

namespace corpgrid::models {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kSpareBytes = 1
                                 << 20;  // for the manifest and what a file system keeps to itself
constexpr size_t kCommitDigits = 40;
constexpr size_t kMaxManifestBytes = 1 << 20;

std::string AbsolutePath(const std::string& path) {
  std::string absolute = fs::absolute(path).lexically_normal().string();
  while (absolute.size() > 1 && absolute.ends_with('/')) absolute.pop_back();
  return absolute;
}

// A copy that shares its blocks with the first until one changes, where the file system can.
bool Clone(const std::string& from, const std::string& to) {
  unlink(to.c_str());  // it may be a link to the very file that is copied
  const UniqueFd in(open(from.c_str(), O_RDONLY | O_CLOEXEC));
  const UniqueFd out(open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (in.ok() && out.ok() && ioctl(out.get(), FICLONE, in.get()) == 0) return true;
  unlink(to.c_str());
  return false;
}

absl::Status Link(const std::string& from, const std::string& to) {
  unlink(to.c_str());
  if (link(from.c_str(), to.c_str()) == 0) return absl::OkStatus();
  if (errno != EXDEV) return FileError(from, "link", errno);
  return absl::FailedPreconditionError(fmt::format(
      "{} is on another file system than the store, so it cannot be linked; leave --link out to "
      "copy it, or put the store there with --models",
      from));
}

// Puts local files where a model comes together.
class LocalFiles {
 public:
  LocalFiles(const AddRequest& request, const OnAddProgress& on_progress)
      : request_(request), on_progress_(on_progress) {}

  absl::StatusOr<std::vector<StoredFile>> Take(const Staging& staging, const std::string& path) {
    ASSIGN_OR_RETURN(const std::vector<std::string> names,
                     PartsOf(fs::path(path).filename().string()));
    const fs::path folder = fs::path(path).parent_path();
    for (const std::string& name : names) {
      struct stat info;
      const std::string part = folder / name;
      if (stat(part.c_str(), &info) != 0) return FileError(part, "open", errno);
      if (!S_ISREG(info.st_mode)) {
        return absl::InvalidArgumentError(fmt::format("{} is no file", part));
      }
      total_ += static_cast<uint64_t>(info.st_size);
    }
    std::vector<StoredFile> files;
    for (const std::string& name : names) {
      ASSIGN_OR_RETURN(StoredFile file, TakeOne(staging, folder / name, SafeFileName(name)));
      files.push_back(std::move(file));
    }
    return files;
  }

 private:
  absl::StatusOr<StoredFile> TakeOne(const Staging& staging, const std::string& from,
                                     const std::string& name) {
    const std::string to = staging.PathOf(name);
    if (request_.link) RETURN_IF_ERROR(Link(from, to));
    if (request_.link || Clone(from, to)) return Hash(to);
    RETURN_IF_ERROR(CheckSpace(staging.folder(), total_ - done_ + kSpareBytes));
    ASSIGN_OR_RETURN(StagedFile file, StagedFile::Open(staging, name));
    RETURN_IF_ERROR(file.Restart(""));
    RETURN_IF_ERROR(ReadAll(from, request_.worker.stop, [&](std::string_view bytes) {
      Advance("copying", bytes.size());
      return file.Append(bytes);
    }));
    return file.Finish(0, request_.sha256);
  }

  absl::StatusOr<StoredFile> Hash(const std::string& path) {
    ASSIGN_OR_RETURN(StoredFile file, HashFile(path, request_.worker.stop,
                                               [&](uint64_t bytes) { Advance("reading", bytes); }));
    if (request_.sha256.empty() || request_.sha256 == file.sha256) return file;
    return absl::DataLossError(fmt::format("the SHA-256 of {} is {} and should be {}", file.name,
                                           file.sha256, request_.sha256));
  }

  void Advance(std::string_view what, uint64_t bytes) {
    done_ += bytes;
    on_progress_(what, done_, total_);
  }

  const AddRequest& request_;
  const OnAddProgress& on_progress_;
  uint64_t done_ = 0;
  uint64_t total_ = 0;
};

// Makes one GGUF file of a folder of safetensors.
absl::StatusOr<std::vector<StoredFile>> Convert(const Staging& staging, const AddRequest& request,
                                                const OnAddProgress& on_progress,
                                                const std::string& folder,
                                                const std::string& name) {
  if (request.link || !request.sha256.empty()) {
    return absl::InvalidArgumentError(
        "a folder is converted, so --link and --sha256 cannot be said");
  }
  ASSIGN_OR_RETURN(const std::string converter, FindConverter());
  const std::string to = staging.PathOf(SafeFileName(name + ".gguf"));
  RETURN_IF_ERROR(ConvertFolder(
      converter, folder, to, staging.PathOf("scratch"), request.worker.stop,
      [&](uint64_t done, uint64_t total) { on_progress("converting", done, total); }));
  ASSIGN_OR_RETURN(StoredFile file, HashFile(to, request.worker.stop, [](uint64_t) {}));
  return std::vector<StoredFile>{std::move(file)};
}

// Fetches all parts. `source` is then of the very revision that they came from.
absl::StatusOr<std::vector<StoredFile>> FetchParts(const Staging& staging,
                                                   const AddRequest& request,
                                                   const OnAddProgress& on_progress,
                                                   Source* source) {
  ASSIGN_OR_RETURN(const auto fetcher, Fetcher::Make(request.fetch));
  ASSIGN_OR_RETURN(const std::vector<std::string> names,
                   PartsOf(source->path.substr(source->path.find_last_of('/') + 1)));
  std::vector<RemoteFile> remotes;
  std::vector<StagedFile> staged;
  uint64_t total = 0, there = 0;
  bool all_sizes = true;
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(RemoteFile remote, fetcher->Look(source->WithFile(name)));
    // What the hub has may change between two parts: all are taken from the revision of the first.
    if (source->kind == Source::Kind::kHub && remote.commit.size() == kCommitDigits) {
      source->revision = remote.commit;
      remote.source.revision = remote.commit;
    }
    ASSIGN_OR_RETURN(StagedFile file, StagedFile::Open(staging, SafeFileName(name)));
    total += remote.bytes;
    there += file.bytes();
    all_sizes = all_sizes && remote.bytes > 0;
    remotes.push_back(std::move(remote));
    staged.push_back(std::move(file));
  }
  RETURN_IF_ERROR(CheckSpace(staging.folder(), total - std::min(there, total) + kSpareBytes));
  std::vector<StoredFile> files;
  uint64_t done = 0;
  for (size_t i = 0; i < remotes.size(); ++i) {
    ASSIGN_OR_RETURN(StoredFile file,
                     fetcher->Fetch(remotes[i], request.sha256, &staged[i], [&](uint64_t bytes) {
                       on_progress("fetching", done + bytes, all_sizes ? total : 0);
                     }));
    done += file.bytes;
    files.push_back(std::move(file));
  }
  return files;
}

absl::Status CheckRequest(const AddRequest& request, const Source& source) {
  if (!request.sha256.empty() && !IsSha256(request.sha256)) {
    return absl::InvalidArgumentError(
        fmt::format("\"{}\" is no SHA-256; it has 64 digits of 0-9 and a-f", request.sha256));
  }
  const std::string file = source.path.substr(source.path.find_last_of('/') + 1);
  ASSIGN_OR_RETURN(const std::vector<std::string> parts, PartsOf(file));
  if (parts.size() > 1 && !request.sha256.empty()) {
    return absl::InvalidArgumentError(fmt::format(
        "{} is one of {} parts, each with a SHA-256 of its own, so --sha256 cannot be said", file,
        parts.size()));
  }
  if (source.kind != Source::Kind::kPath && request.link) {
    return absl::InvalidArgumentError("only a file of this machine can be linked");
  }
  return absl::OkStatus();
}

// Where the library ends its process when it computes, what it says without is still true.
absl::StatusOr<inference::Inspection> TryFile(const WorkerProgram& worker,
                                              const std::string& file) {
  const absl::StatusOr<inference::Inspection> tried = InspectFile(worker, file, /*try_it=*/true);
  if (tried.status().code() != absl::StatusCode::kInternal) return tried;
  absl::StatusOr<inference::Inspection> seen = InspectFile(worker, file, /*try_it=*/false);
  if (!seen.ok()) return seen;
  seen->compatibility.tried = true;
  seen->compatibility.generates = seen->compatibility.embeds = false;
  if (seen->compatibility.problem.empty()) {
    seen->compatibility.problem = std::string(tried.status().message());
  }
  return seen;
}

}  // namespace

absl::StatusOr<StoredModel> InspectAndCommit(Staging* staging, StoredModel model,
                                             const Inspecting& how, const WorkerProgram& worker,
                                             const Clock& clock) {
  const std::string file = staging->PathOf(model.files[0].name);
  const absl::StatusOr<inference::Inspection> inspection =
      how.try_it ? TryFile(worker, file) : InspectFile(worker, file, /*try_it=*/false);
  if (inspection.status().code() == absl::StatusCode::kInvalidArgument) {
    staging->Discard();
    // It names the file by the place where it is no more.
    std::string message(inspection.status().message());
    if (message.starts_with(file)) message.replace(0, file.size(), model.source);
    return absl::InvalidArgumentError(message);
  }
  RETURN_IF_ERROR(inspection.status());
  model.facts = inspection->facts;
  model.verdict = inspection->compatibility;
  if (!model.verdict.usable() && !how.anyway) {
    return absl::FailedPreconditionError(
        fmt::format("this machine cannot host {}: {}", model.name, model.verdict.problem));
  }
  model.added_wall_ms = clock.WallMs();
  if (FormatManifest(model).size() > kMaxManifestBytes) {
    staging->Discard();
    return absl::InvalidArgumentError(
        fmt::format("{} says more of itself than the {} that are kept of that", model.source,
                    FormatBytes(kMaxManifestBytes)));
  }
  RETURN_IF_ERROR(staging->Commit(model));
  return model;
}

absl::StatusOr<StoredModel> AddModel(ModelStore* store, const AddRequest& request,
                                     const OnAddProgress& on_progress, const Clock& clock) {
  ASSIGN_OR_RETURN(Source source, Source::Parse(request.source));
  RETURN_IF_ERROR(CheckRequest(request, source));
  const bool local = source.kind == Source::Kind::kPath;
  if (local) source.path = AbsolutePath(source.path);
  StoredModel model;
  model.name = request.name.empty() ? NameFromFile(source.path) : request.name;
  ASSIGN_OR_RETURN(Staging staging, store->Stage(model.name, source.ToText()));
  absl::StatusOr<std::vector<StoredFile>> files =
      !local ? FetchParts(staging, request, on_progress, &source)
      : fs::is_directory(source.path)
          ? Convert(staging, request, on_progress, source.path, model.name)
          : LocalFiles(request, on_progress).Take(staging, source.path);
  if (!files.ok()) {
    if (local || staging.HasNothing()) staging.Discard();
    return files.status();
  }
  model.files = *std::move(files);
  model.source = source.ToText();
  absl::StatusOr<StoredModel> added =
      InspectAndCommit(&staging, std::move(model), {.try_it = true, .anyway = request.anyway},
                       request.worker, clock);
  if (!added.ok() && local) staging.Discard();
  if (absl::IsFailedPrecondition(added.status())) {
    return absl::FailedPreconditionError(
        fmt::format("{}; --anyway keeps it nevertheless", std::string(added.status().message())));
  }
  return added;
}

}  // namespace corpgrid::models
