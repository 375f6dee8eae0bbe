#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "cli/client.h"
#include "cli/interrupt.h"
#include "cli/models.h"
#include "cli/patience.h"
#include "cli/table.h"
#include "crypto/hex.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "models/hash_file.h"

namespace corpgrid::cli {
namespace {

namespace fs = std::filesystem;
namespace v1 = corpgrid::v1;

using Device = v1::ClusterResourcesResponse::Device;

// Answers of models come by the same stream: a part must not hold them up for long.
constexpr uint64_t kPartBytes = 1 << 20;
constexpr int kMaxRefusals = 3;  // of the same part

struct UploadArguments {
  std::string models;
  std::string source;
  std::string name;
  std::vector<std::string> to;
};

// A model that is sent.
struct Outgoing {
  std::string name;
  std::vector<models::StoredFile> files;
  std::vector<std::string> paths;  // of these

  uint64_t bytes() const {
    uint64_t sum = 0;
    for (const models::StoredFile& file : files) sum += file.bytes;
    return sum;
  }
};

absl::StatusOr<Outgoing> ReadFiles(const std::string& path, ByteBars* bars,
                                   const std::atomic<bool>& stop) {
  Outgoing model{.name = models::NameFromFile(path), .files = {}, .paths = {}};
  ASSIGN_OR_RETURN(const std::vector<std::string> parts,
                   models::PartsOf(fs::path(path).filename().string()));
  uint64_t total = 0, read = 0;
  for (const std::string& part : parts) {
    model.paths.push_back(fs::path(path).replace_filename(part).string());
    std::error_code error;
    total += fs::file_size(model.paths.back(), error);
    if (error) return FileError(model.paths.back(), "open", error.value());
  }
  for (const std::string& part : model.paths) {
    ASSIGN_OR_RETURN(models::StoredFile file, models::HashFile(part, &stop, [&](uint64_t bytes) {
                       read += bytes;
                       bars->Show("reading", read, total);
                     }));
    file.name = models::SafeFileName(part);
    model.files.push_back(std::move(file));
  }
  return model;
}

absl::StatusOr<Outgoing> FindModel(const Common& common, const UploadArguments& arguments,
                                   ByteBars* bars, const std::atomic<bool>& stop) {
  Outgoing model;
  if (arguments.source.find('/') != std::string::npos || arguments.source.ends_with(".gguf")) {
    ASSIGN_OR_RETURN(model, ReadFiles(arguments.source, bars, stop));
  } else {
    ASSIGN_OR_RETURN(const auto store, OpenModels(common, arguments.models));
    ASSIGN_OR_RETURN(const models::StoredModel stored, store->Find(arguments.source));
    model = {.name = stored.name, .files = stored.files, .paths = {}};
    for (const models::StoredFile& file : stored.files) {
      model.paths.push_back(store->PathOf(stored, file.name));
    }
  }
  if (!arguments.name.empty()) model.name = arguments.name;
  RETURN_IF_ERROR(models::CheckModelName(model.name));
  return model;
}

absl::StatusOr<Device> FindDevice(const v1::ClusterResourcesResponse& resources,
                                  const std::string& name) {
  std::vector<Device> found;
  std::vector<std::string> names;
  for (const Device& device : resources.devices()) {
    names.push_back(Printable(device.name()));
    if (device.name() == name || std::to_string(device.device_id()) == name) {
      found.push_back(device);
    }
  }
  if (found.size() == 1) return found.front();
  if (found.size() > 1) {
    return absl::InvalidArgumentError(
        fmt::format("{} devices are called \"{}\"; say the number of one (corpgrid device list)",
                    found.size(), name));
  }
  return absl::NotFoundError(
      fmt::format("no device \"{}\" that is there hosts models; {}", name,
                  names.empty() ? "none does" : fmt::format("{} do", fmt::join(names, ", "))));
}

// The ones that are named; else the one that lends most memory, so that the same command goes on
// where it was stopped.
absl::StatusOr<std::vector<Device>> ChooseDevices(const v1::ClusterResourcesResponse& resources,
                                                  const std::vector<std::string>& names) {
  std::vector<Device> chosen;
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(Device device, FindDevice(resources, name));
    if (!device.receives()) {
      return absl::FailedPreconditionError(fmt::format(
          "models cannot be sent to {}: its owner lends no disk for them, or its agent is too old",
          Printable(device.name())));
    }
    chosen.push_back(std::move(device));
  }
  if (!chosen.empty()) return chosen;
  const Device* best = nullptr;
  for (const Device& device : resources.devices()) {
    if (!device.receives() || !device.closed().empty()) continue;
    if (!best || device.limit_bytes() > best->limit_bytes()) best = &device;
  }
  if (!best) {
    return absl::FailedPreconditionError(
        "models can be sent to no device that is there (corpgrid agent --model-disk)");
  }
  return std::vector<Device>{*best};
}

template <typename Response, typename Request>
absl::StatusOr<Response> CallAgent(Client* client, uint64_t device, const std::string& method,
                                   const Request& request, int64_t patience_ms,
                                   const std::atomic<bool>& stop) {
  v1::CallRequest call;
  call.set_device_id(device);
  call.set_method(method);
  request.SerializeToString(call.mutable_request());
  ASSIGN_OR_RETURN(const std::string answer, client->CallAgent(call, patience_ms, stop));
  Response response;
  if (response.ParseFromString(answer)) return response;
  return absl::InternalError("the device's answer is none");
}

// What `wanted` says, of at most a part's size.
absl::Status ReadPart(const Outgoing& model, const v1::TakeModelResponse& wanted,
                      v1::TakeModelRequest* request) {
  if (wanted.file() >= model.files.size() || wanted.offset() >= model.files[wanted.file()].bytes) {
    return absl::InternalError("the device wants what there is not");
  }
  const std::string& path = model.paths[wanted.file()];
  const uint64_t left = model.files[wanted.file()].bytes - wanted.offset();
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.ok()) return FileError(path, "open", errno);
  request->set_file(wanted.file());
  request->set_offset(wanted.offset());
  std::string* const content = request->mutable_content();
  content->resize(std::min(left, kPartBytes));
  const ssize_t size =
      pread(fd.get(), content->data(), content->size(), static_cast<off_t>(wanted.offset()));
  if (size < 0) return FileError(path, "read", errno);
  if (size == 0) return absl::DataLossError(fmt::format("{} is shorter than it was", path));
  content->resize(static_cast<size_t>(size));
  return absl::OkStatus();
}

absl::Status Send(Client* client, const Device& device, const Outgoing& model, ByteBars* bars,
                  const std::atomic<bool>& stop) {
  v1::TakeModelRequest request;
  request.set_model(model.name);
  for (const models::StoredFile& file : model.files) {
    auto* one = request.add_files();
    one->set_name(file.name);
    one->set_bytes(file.bytes);
    std::array<uint8_t, 32> digest{};
    crypto::ParseHex(file.sha256, digest);
    one->set_sha256(digest.data(), digest.size());
  }
  const std::string what = "sending to " + Printable(device.name());
  for (int refusals = 0; refusals < kMaxRefusals;) {
    if (stop) return absl::CancelledError("stopped");
    ASSIGN_OR_RETURN(const auto wanted,
                     CallAgent<v1::TakeModelResponse>(client, device.device_id(), "TakeModel",
                                                      request, kChangePatienceMs, stop));
    if (wanted.whole()) return absl::OkStatus();
    const bool refused = !request.content().empty() && wanted.file() == request.file() &&
                         wanted.offset() == request.offset();
    refusals = refused ? refusals + 1 : 0;
    RETURN_IF_ERROR(ReadPart(model, wanted, &request));
    uint64_t done = wanted.offset();
    for (uint32_t file = 0; file < wanted.file(); ++file) done += model.files[file].bytes;
    bars->Show(what, done, model.bytes());
  }
  return absl::InternalError(fmt::format("the device does not take byte {} of {}", request.offset(),
                                         model.paths[request.file()]));
}

absl::Status Upload(const Common& common, const UploadArguments& arguments) {
  const InterruptFlag interrupt;
  auto bars = std::make_unique<ByteBars>();
  ASSIGN_OR_RETURN(const Outgoing model,
                   FindModel(common, arguments, bars.get(), interrupt.raised()));
  ASSIGN_OR_RETURN(const auto client, Client::Open(common.data_folder));
  ASSIGN_OR_RETURN(const v1::ClusterResourcesResponse resources, client->ClusterResources());
  ASSIGN_OR_RETURN(const std::vector<Device> devices, ChooseDevices(resources, arguments.to));
  std::vector<std::string> names;
  for (const Device& device : devices) {
    const std::string name = Printable(device.name());
    const absl::Status sent = Send(client.get(), device, model, bars.get(), interrupt.raised());
    if (absl::IsCancelled(sent)) {
      return absl::CancelledError(
          fmt::format("stopped while sending to {}; the same command goes on from there", name));
    }
    if (!sent.ok()) {
      return absl::Status(sent.code(),
                          fmt::format("device {}: {}", name, std::string(sent.message())));
    }
    names.push_back(name);
  }
  bars.reset();
  if (common.json) {
    PrintJson(Json{{"model", model.name}, {"bytes", model.bytes()}, {"devices", names}});
  } else {
    Say(fmt::format("{} ({}) is on {}; host it: corpgrid model load {}", model.name,
                    FormatBytes(model.bytes()), fmt::join(names, ", "), model.name));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RemoveFromDevice(const Common& common, const std::string& model,
                              const std::string& device) {
  const InterruptFlag interrupt;
  ASSIGN_OR_RETURN(const auto client, Client::Open(common.data_folder));
  ASSIGN_OR_RETURN(const v1::ClusterResourcesResponse resources, client->ClusterResources());
  ASSIGN_OR_RETURN(const Device from, FindDevice(resources, device));
  v1::RemoveModelRequest request;
  request.set_model(model);
  // Not repeated: the second answer would be that there is none.
  return CallAgent<v1::RemoveModelResponse>(client.get(), from.device_id(), "RemoveModel", request,
                                            /*patience_ms=*/0, interrupt.raised())
      .status();
}

void AddModelUploadCommand(CommandTree& tree, CLI::App* group) {
  const auto arguments = std::make_shared<UploadArguments>();
  CLI::App* upload =
      AddCommand(tree, group, "upload", "Send a model to a device of the grid",
                 "  corpgrid model upload llama-3-8b --to server-1 --to server-2\n"
                 "  corpgrid model upload ./llama-3-8b-Q4_K_M.gguf --name assistant\n"
                 "  corpgrid model rm llama-3-8b --from server-1              removes it there\n"
                 "Ctrl-C stops it; the same command goes on from there.",
                 [&common = tree.common, arguments]() -> int {
                   return ModelExit(common, Upload(common, *arguments), /*asks_grid=*/true);
                 });
  AddModelsOption(upload, &arguments->models);
  upload
      ->add_option(
          "model", arguments->source,
          "A model of this machine (corpgrid model list), or a GGUF file, of a split model "
          "any part")
      ->type_name("MODEL")
      ->required();
  upload->add_option("--name", arguments->name, "What to call it there (default: as here)")
      ->type_name("NAME");
  upload
      ->add_option("--to", arguments->to,
                   "The name or number of a device; more than once for several (default: the one "
                   "that lends models most memory)")
      ->type_name("DEVICE")
      ->allow_extra_args(false);
}

}  // namespace corpgrid::cli
