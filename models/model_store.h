#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/file.h"
#include "models/stored_model.h"

namespace corpgrid::models {

// The place where a model comes together before the store has it. One process at a time has that of
// a name. What is in it stays when it goes without Commit(), so that the next try goes on from
// there. One thread.
class Staging {
 public:
  Staging(Staging&&) noexcept = default;

  const std::string& folder() const { return folder_; }
  std::string PathOf(const std::string& file) const { return folder_ + "/" + file; }

  // The files that the model names are all there: makes them a model of the store, on disk, and
  // nothing else that is here. From then on it can be found, whatever happens. Errors:
  // AlreadyExists when the store has one of that name; those of FileError().
  absl::Status Commit(const StoredModel& model);

  // Nothing here is of use to a later try.
  void Discard();

  // Whether no byte of a model is here.
  bool HasNothing() const;

 private:
  friend class ModelStore;
  Staging(std::string store, std::string name, UniqueFd lock)
      : store_(std::move(store)),
        name_(std::move(name)),
        folder_(store_ + "/.staging/" + name_),
        lock_(std::move(lock)) {}

  std::string store_;
  std::string name_;
  std::string folder_;
  UniqueFd lock_;  // of the folder
};

// What was begun and not finished.
struct Unfinished {
  std::string name;
  std::string source;
  uint64_t bytes = 0;    // that are there
  bool running = false;  // some process is at it
};

struct Listing {
  std::vector<StoredModel> models;     // by name
  std::vector<Unfinished> unfinished;  // by name
  std::vector<std::string> damaged;    // "NAME: why": not to be hosted, can be removed
};

// A folder of models: FOLDER/NAME/ has manifest.json and the files that it names, whole or not at
// all; FOLDER/.staging/NAME/ what is on its way. Several processes may use one at once: each change
// is one rename. Any thread.
class ModelStore {
 public:
  // Makes the folder when it does not exist. Errors: those of FileError().
  static absl::StatusOr<std::unique_ptr<ModelStore>> Open(const std::string& folder);

  // For who only reads it, as another user. Errors: NotFound.
  static absl::StatusOr<std::unique_ptr<ModelStore>> OpenExisting(const std::string& folder);

  const std::string& folder() const { return folder_; }

  absl::StatusOr<Listing> List() const;

  // Errors: NotFound with the name that was probably meant; DataLoss for a damaged manifest, or a
  // file that is missing or of another size.
  absl::StatusOr<StoredModel> Find(const std::string& name) const;

  // Of one of the model's files; without `file` of the first, which the library is given.
  std::string PathOf(const StoredModel& model, const std::string& file = "") const;

  // Takes the model, or what was begun of it, out of the store. A worker that has it goes on.
  // Errors: NotFound as Find(); FailedPrecondition when it is being added.
  absl::Status Remove(const std::string& name);

  // A place for a model of that name. What an earlier try from the same source left is in it.
  // Errors: AlreadyExists when the store has one; FailedPrecondition when another process is adding
  // it; InvalidArgument for a bad name; those of FileError().
  absl::StatusOr<Staging> Stage(const std::string& name, const std::string& source);

 private:
  explicit ModelStore(std::string folder) : folder_(std::move(folder)) {}

  absl::StatusOr<std::vector<std::string>> Names() const;
  // Find() as long as nobody removes it.
  absl::StatusOr<StoredModel> Read(const std::string& name) const;
  absl::Status NoSuchModel(const std::string& name) const;
  std::vector<Unfinished> ListUnfinished() const;
  // Deletes what was removed, and what nobody has gone on with for a week.
  void Collect();

  const std::string folder_;
};

}  // namespace corpgrid::models
