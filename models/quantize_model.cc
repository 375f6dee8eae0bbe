#include "models/quantize_model.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <set>

#include "absl/strings/ascii.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "crypto/hex.h"
#include "fmt/format.h"
#include "models/add_model.h"
#include "models/file_io.h"
#include "models/hash_file.h"

namespace corpgrid::models {
namespace {

namespace fs = std::filesystem;
using inference::Json;

constexpr size_t kMaxTypeBytes = 16;
constexpr uint64_t kBlockBytes = 1 << 20;  // with less than that left, a disk is full

// About what the model takes in that type: the wide ones as they are, the others no more than the
// widest of them, 8.5 bits a weight, or than the model itself.
uint64_t RoomFor(const StoredModel& model, const std::string& type) {
  const uint64_t count = model.facts.parameters;
  if (type == "F32") return count * 4;
  if (type == "F16" || type == "BF16") return count * 2;
  return std::min(model.bytes(), count / 16 * 17);
}

// Writes the model in that type to `to`.
absl::Status WriteAs(const ModelStore& store, const StoredModel& model, const std::string& type,
                     const std::string& to, const WorkerProgram& worker,
                     const std::function<void(double)>& on_progress) {
  const std::string folder = to.substr(0, to.find_last_of('/'));
  RETURN_IF_ERROR(CheckSpace(folder, RoomFor(model, type)));
  const absl::Status status =
      RunWorkerTool(worker, {"quantize", store.PathOf(model), "--to", to, "--type", type},
                    on_progress)
          .status();
  if (status.ok()) return absl::OkStatus();
  // The library does not say that a disk is full.
  const absl::Status space = CheckSpace(folder, kBlockBytes);
  unlink(to.c_str());
  if (!space.ok()) return space;
  return status;
}

std::optional<double> Value(const Json& json, const char* name) {
  if (!json.contains(name) || !json[name].is_number()) return std::nullopt;
  return json[name].get<double>();
}

absl::StatusOr<TypeMeasurement> Measure(const std::string& file, const std::string& reference,
                                        const std::string& text, uint32_t tokens,
                                        const WorkerProgram& worker,
                                        const std::function<void(double)>& on_progress) {
  std::vector<std::string> arguments = {"measure", file};
  if (!text.empty()) {
    arguments.insert(arguments.end(), {"--text", text, "--tokens", std::to_string(tokens)});
  }
  if (!reference.empty()) arguments.insert(arguments.end(), {"--reference", reference});
  ASSIGN_OR_RETURN(const Json json, RunWorkerTool(worker, arguments, on_progress));
  TypeMeasurement measured;
  measured.weight_bytes = static_cast<uint64_t>(Value(json, "weight_bytes").value_or(0));
  measured.prompt_tokens_per_s = Value(json, "prompt_tokens_per_s").value_or(0);
  measured.answer_tokens_per_s = Value(json, "answer_tokens_per_s").value_or(0);
  measured.perplexity = Value(json, "perplexity");
  measured.perplexity_error = Value(json, "perplexity_error");
  measured.mean_divergence = Value(json, "mean_divergence");
  measured.p99_divergence = Value(json, "p99_divergence");
  measured.same_top = Value(json, "same_top");
  return measured;
}

// Deletes what FileInType() made of models that the store has no more, and of `but`.
absl::Status DeleteMade(const ModelStore& store, const StoredModel& but,
                        const std::string& folder) {
  ASSIGN_OR_RETURN(const Listing listing, store.List());
  std::set<std::string> kept;
  for (const StoredModel& model : listing.models) kept.insert(crypto::ToHex(model.Digest()));
  kept.erase(crypto::ToHex(but.Digest()));
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    std::error_code ignored;
    if (!kept.contains(name.substr(0, name.find('-')))) fs::remove_all(it->path(), ignored);
  }
  return absl::OkStatus();
}

// What is in it is of no use once this goes.
class Scratch {
 public:
  explicit Scratch(Staging staging) : staging_(std::move(staging)) {}
  Scratch(const Scratch&) = delete;
  ~Scratch() { staging_.Discard(); }
  std::string file() const { return staging_.PathOf("model.gguf"); }

 private:
  Staging staging_;
};

}  // namespace

std::string NameWithType(const StoredModel& model, const std::string& type) {
  std::string name = model.name;
  // Its own type, where the name ends with it: "Q4_K - Medium" is Q4_K_M, as is "Q4_K_M".
  const size_t dash = name.find_last_of('-');
  if (dash != std::string::npos && dash > 0) {
    const std::string last = absl::AsciiStrToUpper(name.substr(dash + 1));
    const std::string own = absl::AsciiStrToUpper(model.facts.quantisation);
    const std::string_view kind = std::string_view(own).substr(0, own.find(' '));
    if (!kind.empty() && last.starts_with(kind)) name.resize(dash);
  }
  return fmt::format("{}-{}", name, absl::AsciiStrToUpper(type));
}

absl::StatusOr<StoredModel> QuantiseModel(ModelStore* store, const StoredModel& model,
                                          const std::string& type, const std::string& name,
                                          const WorkerProgram& worker, const OnWork& on_work,
                                          const Clock& clock) {
  const std::string kind = absl::AsciiStrToUpper(type);
  StoredModel made;
  made.name = name.empty() ? NameWithType(model, kind) : name;
  made.source = fmt::format("{} as {}", model.name, kind);
  ASSIGN_OR_RETURN(Staging staging, store->Stage(made.name, made.source));
  const auto write = [&]() -> absl::Status {
    const std::string file = staging.PathOf(SafeFileName(made.name + ".gguf"));
    RETURN_IF_ERROR(WriteAs(*store, model, kind, file, worker,
                            [&](double fraction) { on_work("quantising", fraction); }));
    ASSIGN_OR_RETURN(StoredFile stored, HashFile(file, worker.stop, [](uint64_t) {}));
    made.files.push_back(std::move(stored));
    ASSIGN_OR_RETURN(made, InspectAndCommit(&staging, made, {}, worker, clock));
    return absl::OkStatus();
  };
  const absl::Status status = write();
  if (status.ok()) return made;
  staging.Discard();
  return status;
}

absl::StatusOr<std::string> FileInType(const ModelStore& store, const StoredModel& model,
                                       const std::string& type, const std::string& folder,
                                       const WorkerProgram& worker,
                                       const std::function<void(double)>& on_progress) {
  const std::string kind = SafeFileName(absl::AsciiStrToUpper(type));
  if (kind.size() > kMaxTypeBytes) {
    return absl::InvalidArgumentError(fmt::format("{} is no type of weights", kind));
  }
  const std::string file =
      fmt::format("{}/{}-{}.gguf", folder, crypto::ToHex(model.Digest()), kind);
  std::error_code error;
  if (fs::is_regular_file(fs::symlink_status(file, error))) return file;
  // A folder of its own: what looks a file over may write where it writes, and nowhere else.
  const std::string making = folder + "/making";
  RETURN_IF_ERROR(DeleteMade(store, model, folder));
  fs::create_directories(making, error);
  if (error) return FileError(making, "make", error.value());
  const std::string part = making + "/model.gguf";
  RETURN_IF_ERROR(WriteAs(store, model, kind, part, worker, on_progress));
  if (!fs::is_regular_file(fs::symlink_status(part, error))) {
    return absl::InternalError("the worker program made no file");
  }
  RETURN_IF_ERROR(SyncPath(part));
  if (rename(part.c_str(), file.c_str()) != 0) return FileError(file, "make", errno);
  return file;
}

absl::StatusOr<std::vector<TypeMeasurement>> MeasureTypes(
    ModelStore* store, const StoredModel& model, const std::vector<std::string>& types,
    const std::string& text, uint32_t tokens, const WorkerProgram& worker, const OnWork& on_work) {
  ASSIGN_OR_RETURN(Staging staging, store->Stage("bench-" + model.name.substr(0, 64), "bench"));
  const Scratch scratch(std::move(staging));
  std::vector<TypeMeasurement> all;
  const auto measuring = [&](const std::string& type) {
    return [&on_work, what = "measuring " + type](double fraction) { on_work(what, fraction); };
  };
  on_work("measuring it as it is", 0);
  ASSIGN_OR_RETURN(TypeMeasurement own, Measure(store->PathOf(model), "", text, tokens, worker,
                                                measuring("it as it is")));
  own.type = model.facts.quantisation;
  all.push_back(std::move(own));
  for (const std::string& type : types) {
    const std::string kind = absl::AsciiStrToUpper(type);
    RETURN_IF_ERROR(WriteAs(*store, model, kind, scratch.file(), worker,
                            [&](double fraction) { on_work("quantising to " + kind, fraction); }));
    ASSIGN_OR_RETURN(TypeMeasurement measured,
                     Measure(scratch.file(), text.empty() ? "" : store->PathOf(model), text, tokens,
                             worker, measuring(kind)));
    measured.type = kind;
    all.push_back(std::move(measured));
    unlink(scratch.file().c_str());
  }
  return all;
}

}  // namespace corpgrid::models
