#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "models/model_store.h"
#include "models/stored_model.h"

// A manifest that is accepted names files that stay in the model's folder, and is the same when it
// is written and read again.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace models = corpgrid::models;
  const auto model = models::ParseManifest({reinterpret_cast<const char*>(data), size});
  if (!model.ok()) return 0;
  if (!models::CheckModelName(model->name).ok() || model->files.empty()) std::abort();
  for (const models::StoredFile& file : model->files) {
    if (file.name.find('/') != std::string::npos || file.name.starts_with('.')) std::abort();
  }
  const std::string text = models::FormatManifest(*model);
  const auto again = models::ParseManifest(text);
  if (!again.ok() || models::FormatManifest(*again) != text) std::abort();
  return 0;
}
