#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/host_report.h"
#include "core/rows.h"

namespace corpgrid::core {

// Which device hosts which model: a part of Grid, as pure as that. Which models are to be hosted is
// durable. Where they are is what the devices say: hosting a model twice for a moment does no harm,
// so that nothing has to be fenced, and a new leader asks instead of remembering.
//
// A model goes to a device that has its very files, is there, takes models, and has memory for the
// files' bytes, of its own or a GPU's; which of these, and whether it fits, the worker's own
// estimate decides there. What weights of another type take is not known before they are made. One
// that failed on a device stays away from it for a while, twice as long each time.
class Hosting {
 public:
  static constexpr size_t kMaxNameBytes = 128;
  static constexpr size_t kMaxTypeBytes = 16;
  static constexpr size_t kMaxModels = 1000;
  static constexpr uint32_t kMaxReplicas = 100;
  static constexpr size_t kMaxHeld = 1000;  // models that a device tells of
  static constexpr size_t kMaxGpus = 64;    // of a device
  static constexpr int64_t kRetryMs = 5000;
  static constexpr int64_t kMaxRetryMs = 300'000;

  // What the grid knows of a device.
  struct Facts {
    std::string name;
    std::string closed = "";  // why it takes no models; empty: it does
  };

  // `silent_ms`: a device that was not heard for so long hosts nothing.
  explicit Hosting(int64_t silent_ms) : silent_ms_(silent_ms) {}

  // What a store had. Devices have `silent_ms` from now on to tell what they host.
  void Load(std::vector<ModelRow> rows, int64_t now_ms);

  // The row to store for a model that is to be hosted so, once it was Put. `row.digest` may be
  // empty where all devices that have a model of this name have the same. Errors: InvalidArgument;
  // NotFound when no device has it; FailedPrecondition, with the figures of each device, when none
  // has room, or when devices have different models of this name.
  absl::StatusOr<ModelRow> Check(ModelRow row, int64_t now_ms) const;
  // The row of a model that is loaded.
  std::optional<ModelRow> Find(const std::string& name) const;
  // Hosts what Check allowed.
  void Put(ModelRow row, int64_t now_ms);
  // The row to store. Errors: NotFound.
  absl::StatusOr<ModelRow> Remove(const std::string& name);
  // Somebody asks for it: loads it again where it was idle for too long. Errors: NotFound.
  absl::Status Wake(const std::string& name, int64_t now_ms);

  HostOrders Report(HostReport report, Facts facts, int64_t now_ms);
  // Time passed.
  void Tick(int64_t now_ms);

  HostingView View(int64_t now_ms) const;

 private:
  struct Host {
    HostReport report;
    Facts facts;
    int64_t heard_ms = 0;
    uint64_t promised_bytes = 0;  // to models that its report does not know of
  };
  struct Refusal {
    std::string reason;
    int64_t until_ms = 0;
    int times = 0;
  };
  struct Model {
    ModelRow row;
    int64_t since_ms = 0;  // it is placed from here on; before, devices may tell that they have it
    bool asleep = false;
    int64_t woken_ms = 0;
    std::map<DeviceId, HostedModel> replicas;
    std::map<DeviceId, Refusal> refusals;
    std::optional<ModelFailure> last_failure;
    int64_t failed_ms = 0;
  };

  bool IsHere(const Host& host, int64_t now_ms) const {
    return now_ms - host.heard_ms < silent_ms_;
  }
  // The most that one more model could have, in the machine's memory or a GPU's, without what was
  // promised to others; and of how much.
  struct Room {
    uint64_t free_bytes = 0;
    uint64_t limit_bytes = 0;
  };
  static Room RoomOf(const Host& host);
  // Why `host`, which has the model's files, cannot take a replica of it now; empty when it can.
  // Without a `model`: whatever is and was hosted.
  std::string WhyNot(const ModelRow& row, const Host& host, const Model* model,
                     int64_t now_ms) const;
  // What WhyNot says of every device that has the files.
  std::string WhyNowhere(const ModelRow& row, const Model* model, int64_t now_ms) const;
  static bool Holds(const Host& host, const ModelRow& row);
  // What the model needs and its agent does not know yet; empty: nothing.
  static std::string_view Lacks(const Host& host, const ModelRow& row);
  // That a replica on `host`, which has the model's files, takes at least.
  static uint64_t LeastBytes(const ModelRow& row, const Host& host);
  void Place(Model& model, int64_t now_ms);
  void Hear(Model& model, DeviceId device, const HostedModel& hosted, int64_t now_ms);
  void Fail(Model& model, DeviceId device, const std::string& reason, int64_t now_ms);
  void PutToSleep(Model& model, int64_t now_ms);

  int64_t silent_ms_;
  std::map<std::string, Model> models_;
  std::map<DeviceId, Host> hosts_;
  int64_t next_look_ms_ = 0;
};

}  // namespace corpgrid::core
