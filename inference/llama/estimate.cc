#include "inference/llama/estimate.h"

#include <gguf.h>
#include <llama.h>

#include <memory>

#include "base/status_macros.h"
#include "inference/llama/buffer_log.h"
#include "inference/llama/embedder.h"
#include "inference/llama/library.h"

namespace corpgrid::inference {
namespace {

// Measured: what a worker on the CPU has beside its model after 16 clients, the libraries' pages
// included.
constexpr uint64_t kProcessBytes = 36 << 20;
// What a GPU's driver takes of the machine's memory.
constexpr uint64_t kDriverBytes = 224 << 20;

struct ContextFree {
  void operator()(llama_context* context) const { llama_free(context); }
};

absl::Status UnknownLog() {
  return absl::InternalError(
      "the library does not tell the sizes of its buffers as it used to; this version of CorpGrid "
      "does not know it");
}

absl::StatusOr<MemoryEstimate> OfContext(const Model& model, const llama_context_params& params) {
  const LogCapture log;
  const std::unique_ptr<llama_context, ContextFree> context(
      llama_init_from_model(model.get(), params));
  if (!context) {
    return absl::InvalidArgumentError("the model cannot be laid out: " +
                                      log.LastError("no reason was given"));
  }
  return ReadBufferSizes(log.Lines(), model.gpu());
}

absl::StatusOr<MemoryEstimate> OfEmbedder(const Model& model, uint32_t context, uint32_t threads) {
  const uint32_t limit = TextLimit(model, context);
  ASSIGN_OR_RETURN(MemoryEstimate estimate, OfContext(model, EmbedderParams(limit, threads)));
  // The first long text has outputs for each of its tokens: a vector, and logits where the
  // architecture is one that generates otherwise.
  const uint64_t values = static_cast<uint64_t>(llama_model_n_embd_out(model.get())) +
                          (estimate.kv_bytes > 0 ? model.facts().vocabulary : 0);
  estimate.compute_bytes += 4 * values * limit;
  return estimate;
}

// A GPU has all but the tables that tokens are looked up in; the one that is the last layer, too,
// is there twice. The library does not tell the sizes of weights that it does not load.
absl::Status CountGpuWeights(const std::string& path, MemoryEstimate* estimate) {
  const std::unique_ptr<gguf_context, void (*)(gguf_context*)> file(
      gguf_init_from_file(path.c_str(), {.no_alloc = true, .ctx = nullptr}), gguf_free);
  if (!file) return absl::InvalidArgumentError(path + " is no GGUF file");
  const auto size = [&](const char* name) -> uint64_t {
    const int64_t tensor = gguf_find_tensor(file.get(), name);
    return tensor < 0 ? 0 : gguf_get_tensor_size(file.get(), tensor);
  };
  const uint64_t table = size("token_embd.weight");
  if (size("output.weight") == 0) estimate->weight_bytes += table;
  estimate->gpu_bytes += estimate->weight_bytes - table - size("per_layer_token_embd.weight");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<MemoryEstimate> ReadBufferSizes(const std::vector<std::string>& lines,
                                               const std::string& gpu) {
  MemoryEstimate estimate;
  for (const std::string& line : lines) {
    // "llama_kv_cache: size = …", "llama_memory_recurrent: size = …", one for each kind of layer.
    const bool memory = line.starts_with("llama_kv_cache") || line.starts_with("llama_memory");
    estimate.kv_bytes += memory ? BytesAfter(line, ": size =").value_or(0) : 0;
  }
  if (!gpu.empty()) estimate.gpu_bytes = estimate.kv_bytes;  // it has all layers
  for (const char* kind : {"compute", "output"}) {
    const Buffers buffers = ReadBuffers(lines, kind, gpu);
    estimate.compute_bytes += buffers.bytes;
    estimate.gpu_bytes += buffers.gpu_bytes;
  }
  if (estimate.compute_bytes == 0) return UnknownLog();
  return estimate;
}

absl::StatusOr<MemoryEstimate> EstimateMemory(const std::string& path,
                                              const DecoderOptions& options,
                                              const std::string& gpu) {
  RETURN_IF_ERROR(options.Check());
  ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, Model::LoadFacts(path, gpu));
  MemoryEstimate estimate;
  if (model->facts().only_embeds) {
    ASSIGN_OR_RETURN(estimate, OfEmbedder(*model, options.context, options.threads));
  } else {
    ASSIGN_OR_RETURN(estimate, OfContext(*model, ContextParams(options)));
    if (estimate.kv_bytes == 0) return UnknownLog();
  }
  estimate.weight_bytes = model->buffer_bytes();
  estimate.process_bytes = kProcessBytes;
  if (gpu.empty()) return estimate;
  estimate.process_bytes += kDriverBytes;
  RETURN_IF_ERROR(CountGpuWeights(path, &estimate));
  return estimate;
}

absl::StatusOr<MemoryEstimate> EstimateEmbedder(const std::string& path, uint32_t context,
                                                uint32_t threads, const std::string& gpu) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, Model::LoadFacts(path, gpu));
  return OfEmbedder(*model, context, threads);
}

}  // namespace corpgrid::inference
