#pragma once

#include <filesystem>
#include <fstream>
#include <string>

#include "base/status_macros.h"
#include "models/model_store.h"
#include "models/staged_file.h"
#include "models/worker_tool.h"

// What the tests of this folder share.
namespace corpgrid::models {

// A model with one file, which need not be one that a library reads.
inline absl::Status AddTestModel(ModelStore* store, const std::string& name,
                                 const std::string& content) {
  ASSIGN_OR_RETURN(Staging staging, store->Stage(name, "here"));
  ASSIGN_OR_RETURN(StagedFile file, StagedFile::Open(staging, "m.gguf"));
  RETURN_IF_ERROR(file.Restart(""));
  RETURN_IF_ERROR(file.Append(content));
  ASSIGN_OR_RETURN(const StoredFile stored, file.Finish(content.size(), ""));
  StoredModel model;
  model.name = name;
  model.source = "here";
  model.files = {stored};
  return staging.Commit(model);
}

// A program that does what a shell script says.
inline WorkerProgram ScriptProgram(const std::string& path, const std::string& script) {
  WorkerProgram program;
  program.path = path;
  std::ofstream(path) << "#!/bin/sh\n" << script << "\n";
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  return program;
}

}  // namespace corpgrid::models
