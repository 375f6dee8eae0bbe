#include <cstdint>
#include <cstdlib>
#include <string>

#include "models/http_client.h"
#include "models/source.h"
#include "models/stored_model.h"

// Whatever a person names: what is fetched is https or of this machine, at the host that was named,
// and what it is kept as is a name.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace models = corpgrid::models;
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto source = models::Source::Parse(text);
  if (!models::CheckModelName(models::NameFromFile(text)).ok()) std::abort();
  if (models::SafeFileName(text).find('/') != std::string::npos) std::abort();
  (void)models::PartsOf(text);
  if (!source.ok() || source->kind == models::Source::Kind::kPath) return 0;
  const std::string hub = "https://hub.example";
  const std::string url = source->Url(hub);
  if (!models::CheckUrl(url).ok()) std::abort();
  const bool of_hub = source->kind == models::Source::Kind::kHub;
  if (of_hub && models::OriginOf(url) != models::OriginOf(hub)) std::abort();
  if (models::OriginOf(source->WithFile("other.gguf").Url(hub)) != models::OriginOf(url)) {
    std::abort();
  }
  return 0;
}
