#include "cli/submit.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <span>

#include "base/status_macros.h"
#include "cli/json.h"
#include "cli/patience.h"
#include "crypto/encoding.h"
#include "fmt/format.h"
#include "job/statement.h"
#include "objects/bundle.h"
#include "rpc/transfer.h"

namespace corpgrid::cli {
namespace {

namespace v1 = corpgrid::v1;

constexpr size_t kReadBytes = 1 << 20;

absl::Status FileError(std::string_view verb, const std::string& path) {
  return absl::ErrnoToStatus(errno, fmt::format("cannot {} {}", verb, path));
}

// A file that is read at an offset; it stays open only as long as this lives.
class InputReader {
 public:
  static absl::StatusOr<std::unique_ptr<InputReader>> Open(const std::string& path) {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return FileError("read", path);
    return std::unique_ptr<InputReader>(new InputReader(path, fd));
  }
  InputReader(const InputReader&) = delete;
  ~InputReader() { close(fd_); }

  const std::string& path() const { return path_; }

  absl::StatusOr<std::string> ReadAt(uint64_t offset, size_t max) const {
    std::string data(max, '\0');
    size_t filled = 0;
    while (filled < max) {
      const ssize_t size =
          pread(fd_, data.data() + filled, max - filled, static_cast<off_t>(offset + filled));
      if (size < 0 && errno == EINTR) continue;
      if (size < 0) return FileError("read", path_);
      if (size == 0) break;
      filled += static_cast<size_t>(size);
    }
    data.resize(filled);
    return data;
  }

 private:
  InputReader(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  const std::string path_;
  const int fd_;
};

absl::StatusOr<std::string> ReadTextFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return FileError("read", path);
  std::string text{std::istreambuf_iterator<char>(in), {}};
  if (in.bad()) return FileError("read", path);
  return text;
}

absl::StatusOr<job::Input> HashInput(const job::InputFile& file) {
  ASSIGN_OR_RETURN(const auto reader, InputReader::Open(file.path));
  crypto::Hasher hasher;
  uint64_t size = 0;
  while (true) {
    ASSIGN_OR_RETURN(const std::string data, reader->ReadAt(size, kReadBytes));
    if (data.empty()) break;
    hasher.Update(data);
    size += data.size();
  }
  return job::Input{.name = file.name, .hash = hasher.Finish(), .size_bytes = size};
}

// An upload reads its files one after the other: one open file does for a hundred thousand.
using OpenFile = std::shared_ptr<std::unique_ptr<InputReader>>;

rpc::ObjectsClient::Upload UploadInput(v1::Grant grant, const job::InputFile& file, OpenFile open) {
  return {.grant = std::move(grant),
          .name = "input/" + file.name,
          .read_at = [path = file.path, open = std::move(open)](
                         uint64_t offset, size_t max) -> absl::StatusOr<std::string> {
            if (*open == nullptr || (*open)->path() != path) {
              ASSIGN_OR_RETURN(*open, InputReader::Open(path));
            }
            return (*open)->ReadAt(offset, max);
          }};
}

// Uploads with the patience of a change: the client itself repeats a broken call for a second or
// two only.
absl::StatusOr<std::vector<v1::StagedObject>> PutPatiently(
    Client& client, std::span<const rpc::ObjectsClient::Upload> uploads,
    const std::function<void(uint64_t)>& progress) {
  Patience patience(kChangePatienceMs);
  while (true) {
    auto staged = client.objects().Put(uploads, progress);
    if (staged.ok() || !absl::IsUnavailable(staged.status())) return staged;
    if (client.GridIsGone() || !patience.Wait()) return client.Unreachable(staged.status());
  }
}

// Names the staged bytes. It depends on the content too, so that a key used again after the files
// changed never resumes an upload of the old ones.
std::string UploadId(std::string_view idempotency_key, const PreparedJob& job) {
  crypto::Encoder encoder("corpgrid upload", 1);
  encoder.Add(idempotency_key).Add(job.bundle_hash.Raw()).Add(job.spec_hash.Raw());
  return crypto::Blake3(encoder.bytes()).Hex().substr(0, 32);
}

absl::Status Upload(Client& client, const PreparedJob& job, const std::string& upload_id,
                    const StageProgress& progress) {
  v1::Grant grant;
  grant.set_upload_id(upload_id);
  std::vector<rpc::ObjectsClient::Upload> uploads = {
      rpc::UploadBytes(grant, "spec", job.spec_bytes)};
  std::vector<crypto::Hash> expected = {job.spec_hash};
  if (job.has_bundle) {
    uploads.push_back(rpc::UploadFd(grant, "bundle", job.bundle.fd()));
    expected.push_back(job.bundle_hash);
  }
  const auto open = std::make_shared<std::unique_ptr<InputReader>>();
  for (size_t i = 0; i < job.inputs.size(); ++i) {
    uploads.push_back(UploadInput(grant, job.inputs[i], open));
    expected.push_back(job.spec->inputs[i].hash);
  }
  ASSIGN_OR_RETURN(const auto staged, PutPatiently(client, uploads, [&](uint64_t sent) {
                     progress("uploading", sent, job.upload_bytes);
                   }));
  for (size_t i = 0; i < expected.size(); ++i) {
    if (i < staged.size() && staged[i].hash() == expected[i].Raw()) continue;
    return absl::AbortedError(
        fmt::format("{} changed while it was uploaded: submit the job again", uploads[i].name));
  }
  return absl::OkStatus();
}

// A key that was used before names a job; it has to be this one.
absl::Status CheckSameJob(Client& client, uint64_t job_id, const std::string& key,
                          const PreparedJob& job) {
  ASSIGN_OR_RETURN(const v1::Job existing, client.GetJob(job_id));
  if (existing.spec() == job.spec_bytes && existing.bundle_hash() == job.bundle_hash.Raw()) {
    return absl::OkStatus();
  }
  return absl::AlreadyExistsError(
      fmt::format("the key \"{}\" made job {} ({}) from other files: nothing was submitted; use "
                  "another --key",
                  key, job_id, existing.name()));
}

}  // namespace

absl::StatusOr<TempFile> TempFile::Create() {
  const char* folder = std::getenv("TMPDIR");
  std::string path =
      fmt::format("{}/corpgrid-XXXXXX", folder != nullptr && *folder != '\0' ? folder : "/tmp");
  const int fd = mkostemp(path.data(), O_CLOEXEC);
  if (fd < 0) return FileError("make a temporary file", path);
  unlink(path.c_str());
  return TempFile(fd);
}

TempFile::~TempFile() {
  if (fd_ >= 0) close(fd_);
}

absl::Status TempFile::Append(std::string_view data) const {
  while (!data.empty()) {
    const ssize_t size = write(fd_, data.data(), data.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return FileError("write", "the packed bundle ($TMPDIR chooses another disk)");
    data.remove_prefix(static_cast<size_t>(size));
  }
  return absl::OkStatus();
}

absl::StatusOr<PreparedJob> PrepareJob(const std::string& file, const Overrides& overrides,
                                       const StageProgress& progress) {
  ASSIGN_OR_RETURN(const std::string text, ReadTextFile(file));
  ASSIGN_OR_RETURN(job::JobFile parsed, job::ParseJobFile(text, file));
  std::vector<uint64_t>& after = parsed.fields.after;
  after.insert(after.end(), overrides.after.begin(), overrides.after.end());
  parsed.fields.priority = overrides.priority.value_or(parsed.fields.priority);
  parsed.fields.project = overrides.project.value_or(parsed.fields.project);

  std::vector<job::InputFile> inputs;
  uint64_t bytes = 0;
  if (!parsed.inputs_pattern.empty()) {
    ASSIGN_OR_RETURN(inputs, job::ExpandInputs(parsed.inputs_pattern));
    parsed.fields.shards = static_cast<uint32_t>(inputs.size());
    for (const job::InputFile& input : inputs) {
      ASSIGN_OR_RETURN(parsed.fields.inputs.emplace_back(), HashInput(input));
      bytes += parsed.fields.inputs.back().size_bytes;
      progress("reading inputs", bytes, 0);
    }
  }
  ASSIGN_OR_RETURN(TempFile bundle, TempFile::Create());
  crypto::Hasher hasher;
  uint64_t bundle_bytes = 0;
  if (!parsed.bundle_path.empty()) {
    RETURN_IF_ERROR(objects::PackBundle(parsed.bundle_path, [&](std::string_view data) {
      hasher.Update(data);
      bundle_bytes += data.size();
      progress("packing", bundle_bytes, 0);
      return bundle.Append(data);
    }));
  }
  ASSIGN_OR_RETURN(job::JobSpec spec, job::JobSpec::Make(std::move(parsed.fields)));
  std::string spec_bytes = spec.Encode();
  const crypto::Hash spec_hash = crypto::Blake3(spec_bytes);
  const uint64_t upload_bytes = bytes + bundle_bytes + spec_bytes.size();
  return PreparedJob{.spec = std::move(spec),
                     .spec_bytes = std::move(spec_bytes),
                     .spec_hash = spec_hash,
                     .has_bundle = !parsed.bundle_path.empty(),
                     .bundle = std::move(bundle),
                     .bundle_hash = hasher.Finish(),
                     .bundle_bytes = bundle_bytes,
                     .inputs = std::move(inputs),
                     .upload_bytes = upload_bytes};
}

absl::StatusOr<Submission> SubmitJob(Client& client, const crypto::KeyPair& key,
                                     const PreparedJob& job, const std::string& idempotency_key,
                                     const StageProgress& progress) {
  ASSIGN_OR_RETURN(const uint32_t protocol, client.Protocol());
  if (job.spec.Protocol() > protocol) {
    return absl::FailedPreconditionError(fmt::format(
        "the scheduler speaks protocol version {}; this job asks for what is known from "
        "version {} on: upgrade the scheduler first",
        protocol, job.spec.Protocol()));
  }
  const std::string upload_id = UploadId(idempotency_key, job);
  RETURN_IF_ERROR(Upload(client, job, upload_id, progress));
  v1::SubmitRequest request;
  request.set_idempotency_key(idempotency_key);
  request.set_upload_id(upload_id);
  request.set_submitter_key(std::string(key.public_key().Raw()));
  request.set_signature(
      key.Sign(job::JobStatement(client.grid_id(), job.bundle_hash, job.spec_hash)));
  ASSIGN_OR_RETURN(const v1::SubmitResponse response, client.Submit(request));
  if (response.existed()) {
    RETURN_IF_ERROR(CheckSameJob(client, response.job_id(), idempotency_key, job));
  }
  return Submission{.job_id = response.job_id(), .existed = response.existed()};
}

std::string NewIdempotencyKey() { return Hex(crypto::RandomBytes(16)); }

}  // namespace corpgrid::cli
