#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "models/model_store.h"
#include "models/staged_file.h"

namespace corpgrid::models {

// Takes models that come from elsewhere, part by part, into a store of its own. One comes at a
// time: another has to wait until nothing of it was heard for a while. What came stays for a later
// try. One thread.
class Receiver {
 public:
  static constexpr int64_t kPatienceMs = 30'000;
  static constexpr size_t kMaxUnfinished = 16;
  static constexpr size_t kMaxModels = 100;

  struct Part {
    std::string model;              // what it is called
    std::vector<StoredFile> files;  // all of them, in order
    size_t file = 0;                // whose bytes these are
    uint64_t offset = 0;
    std::string_view bytes = {};
  };
  struct Wanted {
    bool whole = false;  // nothing: the store has the model, and it can be hosted here
    size_t file = 0;
    uint64_t offset = 0;
  };

  // `most_bytes`: what the store may have; without it a tenth of the disk stays free. It has at
  // most kMaxUnfinished that are not whole.
  Receiver(std::string folder, std::optional<uint64_t> most_bytes, std::string worker_path,
           const Clock* clock)
      : folder_(std::move(folder)),
        most_bytes_(most_bytes),
        worker_path_(std::move(worker_path)),
        clock_(clock) {}

  // Keeps the part if it is what is wanted, and tells what is wanted next. After the last one the
  // library looks at it, without loading its weights. Errors: InvalidArgument for what is no such
  // part; AlreadyExists when the store has another model of that name; ResourceExhausted, with the
  // figures, when there is no room, and while another model comes; DataLoss for a file that is not
  // what it should be; FailedPrecondition when it cannot be hosted here; Cancelled once `stop` is
  // true; those of FileError().
  absl::StatusOr<Wanted> Take(const Part& part, const std::atomic<bool>& stop);

  // Errors: those of ModelStore::Remove().
  absl::Status Remove(const std::string& model);

 private:
  struct Incoming {
    StoredModel model;
    std::string key;  // tells these very files from others
    Staging staging;
    size_t at = 0;  // of its files, the first that is not whole
    std::optional<StagedFile> file = std::nullopt;
    int64_t heard_ms = 0;
  };

  absl::Status Begin(ModelStore* store, StoredModel model, const std::string& key);
  absl::Status CheckRoom(const StoredModel& model, const std::string& key) const;
  // Others may fill it meanwhile.
  absl::Status CheckDisk(uint64_t more_bytes) const;
  absl::Status OpenFile(const std::atomic<bool>& stop);
  absl::Status Append(const Part& part);
  absl::StatusOr<Wanted> Advance(const std::atomic<bool>& stop);

  const std::string folder_;
  const std::optional<uint64_t> most_bytes_;
  const std::string worker_path_;
  const Clock* const clock_;
  std::optional<Incoming> incoming_;
};

}  // namespace corpgrid::models
