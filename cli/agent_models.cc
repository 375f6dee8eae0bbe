#include "cli/agent_models.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "cli/own_programs.h"
#include "crypto/hex.h"
#include "fmt/format.h"
#include "models/model_store.h"
#include "models/quantize_model.h"
#include "models/receive.h"
#include "models/worker_tool.h"

namespace corpgrid::cli {
namespace {

namespace fs = std::filesystem;
namespace v1 = corpgrid::v1;

// The folders of an agent's models.
struct Folders {
  std::string store;     // its owner's, which may be another user's
  std::string received;  // of what was sent to it
  std::string made;      // of the owner's with other types of weights
};

// The usable models in a folder, which may come and go, but for those whose names `local` has.
absl::Status AddModelsIn(const std::string& folder, std::vector<agent::LocalModel>* local) {
  const auto store = models::ModelStore::OpenExisting(folder);
  if (absl::IsNotFound(store.status())) return absl::OkStatus();
  RETURN_IF_ERROR(store.status());
  ASSIGN_OR_RETURN(const auto listing, (*store)->List());
  for (const models::StoredModel& model : listing.models) {
    const bool there = std::any_of(local->begin(), local->end(),
                                   [&](const auto& one) { return one.name == model.name; });
    if (!model.verdict.usable() || there) continue;
    local->push_back({model.name, model.Digest(), (*store)->PathOf(model), model.bytes()});
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<agent::LocalModel>> ModelsOf(const Folders& folders) {
  std::vector<agent::LocalModel> local;
  RETURN_IF_ERROR(AddModelsIn(folders.store, &local));
  RETURN_IF_ERROR(AddModelsIn(folders.received, &local));
  return local;
}

absl::StatusOr<agent::LocalModel> InType(const Folders& folders, const agent::LocalModel& local,
                                         const std::string& type,
                                         const models::WorkerProgram& worker,
                                         const std::function<void(double)>& on_progress) {
  const bool received = local.path.starts_with(folders.received + "/");
  const std::string& folder = received ? folders.received : folders.store;
  const std::string made_folder = received ? folders.received + "/.quantised" : folders.made;
  ASSIGN_OR_RETURN(const auto store, models::ModelStore::OpenExisting(folder));
  ASSIGN_OR_RETURN(const models::StoredModel model, store->Find(local.name));
  if (model.Digest() != local.digest) {
    return absl::UnavailableError(fmt::format("model {} is another one by now", local.name));
  }
  agent::LocalModel made = local;
  ASSIGN_OR_RETURN(made.path,
                   models::FileInType(*store, model, type, made_folder, worker, on_progress));
  std::error_code error;
  made.bytes = fs::file_size(made.path, error);
  if (error) return FileError(made.path, "look at", error.value());
  return made;
}

models::Receiver::Part ToPart(const v1::TakeModelRequest& request) {
  models::Receiver::Part part{.model = request.model(),
                              .files = {},
                              .file = request.file(),
                              .offset = request.offset(),
                              .bytes = request.content()};
  for (const auto& file : request.files()) {
    part.files.push_back({file.name(), file.bytes(), crypto::ToHex(file.sha256())});
  }
  return part;
}

absl::StatusOr<v1::TakeModelResponse> Take(const Folders& folders,
                                           const v1::TakeModelRequest& request,
                                           const std::atomic<bool>& stop,
                                           models::Receiver* receiver) {
  const models::Receiver::Part part = ToPart(request);
  v1::TakeModelResponse response;
  const auto store = models::ModelStore::OpenExisting(folders.store);
  absl::StatusOr<models::StoredModel> owners = absl::NotFoundError("");
  RETURN_IF_ERROR(models::CheckModelName(part.model));
  if (store.ok() && part.bytes.empty()) owners = (*store)->Find(part.model);
  if (!owners.ok() && !absl::IsNotFound(owners.status())) return owners.status();
  if (owners.ok() && !part.files.empty()) {
    models::StoredModel sent;
    sent.files = part.files;
    if (owners->Digest() != sent.Digest()) {
      return absl::AlreadyExistsError(
          fmt::format("its owner keeps another model {} there", part.model));
    }
    if (!owners->verdict.usable()) {
      return absl::FailedPreconditionError(
          fmt::format("it has {} and cannot host it: {}", part.model, owners->verdict.problem));
    }
    response.set_whole(true);
    return response;
  }
  ASSIGN_OR_RETURN(const models::Receiver::Wanted wanted, receiver->Take(part, stop));
  response.set_whole(wanted.whole);
  response.set_file(static_cast<uint32_t>(wanted.file));
  response.set_offset(wanted.offset);
  return response;
}

absl::Status ReceiveModels(const OfferedModels& arguments, const Folders& folders,
                           agent::Options* options) {
  std::optional<uint64_t> most_bytes;
  if (!arguments.disk.empty()) {
    ASSIGN_OR_RETURN(most_bytes, ParseBytes(arguments.disk));
  }
  const auto receiver = std::make_shared<models::Receiver>(folders.received, most_bytes,
                                                           options->worker_path, &SystemClock());
  options->sent_models.remove = [receiver](const std::string& model) {
    const absl::Status removed = receiver->Remove(model);
    if (!absl::IsNotFound(removed)) return removed;
    return absl::NotFoundError(
        fmt::format("no model {} was sent to it; its owner's are not removed from afar", model));
  };
  if (most_bytes == 0) return absl::OkStatus();
  options->sent_models.take = [folders, receiver](const v1::TakeModelRequest& request,
                                                  const std::atomic<bool>& stop) {
    return Take(folders, request, stop, receiver.get());
  };
  return absl::OkStatus();
}

}  // namespace

absl::Status OfferModels(const OfferedModels& arguments, bool gpus, agent::Options* options) {
  if (!arguments.memory.empty()) {
    ASSIGN_OR_RETURN(options->model_memory_bytes, ParseBytes(arguments.memory));
  }
  const auto worker = FindBeside("corpgrid-worker");
  if (!worker.ok()) return absl::OkStatus();
  options->worker_path = *worker;
  const std::string data = fs::absolute(options->data_folder).string();
  const Folders folders = {.store = fs::absolute(arguments.folder).string(),
                           .received = data + "/received",
                           .made = data + "/quantised"};
  options->models = [folders] { return ModelsOf(folders); };
  options->in_type = [folders, worker = *worker](
                         const agent::LocalModel& model, const std::string& type,
                         const std::atomic<bool>& stop, const auto& on_progress) {
    return InType(folders, model, type, {.path = worker, .stop = &stop}, on_progress);
  };
  if (gpus) {
    options->gpus = [worker = *worker] { return models::ListGpus(worker); };
  }
  return ReceiveModels(arguments, folders, options);
}

void AddModelOptions(CLI::App* agent, OfferedModels* arguments) {
  agent
      ->add_option(
          "--models", arguments->folder,
          "Models that it hosts when the grid asks for it (corpgrid model add; default: models in "
          "the data folder)")
      ->type_name("DIR")
      ->envname("CORPGRID_MODELS");
  agent
      ->add_option("--model-memory", arguments->memory,
                   "What models may have together, as 8GiB (default: half of what is lent)")
      ->type_name("SIZE")
      ->envname("CORPGRID_MODEL_MEMORY");
  agent
      ->add_option("--model-disk", arguments->disk,
                   "What models that people send to it (corpgrid model upload) may have on its "
                   "disk, as 50GiB; 0: none are taken (default: a tenth of the disk stays free)")
      ->type_name("SIZE")
      ->envname("CORPGRID_MODEL_DISK");
}

}  // namespace corpgrid::cli
