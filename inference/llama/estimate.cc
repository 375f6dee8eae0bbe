#include "inference/llama/estimate.h"

#include <gguf.h>
#include <llama.h>

#include <memory>
#include <string_view>

#include "base/status_macros.h"
#include "inference/llama/buffer_log.h"
#include "inference/llama/embedder.h"
#include "inference/llama/library.h"

namespace corpgrid::inference {
namespace {

// Measured: what a worker on the CPU has beside its model after 16 clients, the libraries' pages
// included.
constexpr uint64_t kProcessBytes = 36 << 20;
// What a GPU's driver takes of the machine's memory: measured with the one that Mesa 25 plays; with
// Mesa 22 it is 224 MiB.
constexpr uint64_t kDriverBytes = 352 << 20;

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

using GgufFile = std::unique_ptr<gguf_context, void (*)(gguf_context*)>;

absl::StatusOr<GgufFile> ReadHeader(const std::string& path) {
  GgufFile file(gguf_init_from_file(path.c_str(), {.no_alloc = true, .ctx = nullptr}), gguf_free);
  if (!file) return absl::InvalidArgumentError(path + " is no GGUF file");
  return file;
}

// 0 where there is none of that name.
uint64_t TensorBytes(const gguf_context* file, const char* name) {
  const int64_t tensor = gguf_find_tensor(file, name);
  return tensor < 0 ? 0 : gguf_get_tensor_size(file, tensor);
}

// What 1,000 bytes of a matrix are once they are packed for AMX (ggml-cpu/amx/mmq.cpp, the sizes of
// tiles).
uint64_t PackedPerMille(ggml_type type) {
  switch (type) {
    case GGML_TYPE_Q8_0:
      return 1000 * 38 / 34;
    case GGML_TYPE_Q4_K:
      return 1000 * 148 / 144;
    case GGML_TYPE_Q5_K:
      return 1000 * 180 / 176;
    case GGML_TYPE_IQ4_XS:
      return 1000 * 138 / 136;
    default:
      return 1000;
  }
}

// Also, the table that tokens are looked up in is there twice when it is the last layer as well.
// The first of several files stands for all. Matrices of experts are not packed.
absl::Status CountPacking(const std::string& path, MemoryEstimate* estimate) {
  ASSIGN_OR_RETURN(const GgufFile file, ReadHeader(path));
  uint64_t all = 0, more = 0;
  for (int64_t i = 0; i < gguf_get_n_tensors(file.get()); ++i) {
    const uint64_t bytes = gguf_get_tensor_size(file.get(), i);
    all += bytes;
    if (std::string_view(gguf_get_tensor_name(file.get(), i)).find("_exps.") != std::string::npos) {
      continue;
    }
    more += bytes * (PackedPerMille(gguf_get_tensor_type(file.get(), i)) - 1000) / 1000;
  }
  if (all == 0) return absl::OkStatus();
  estimate->weight_bytes += static_cast<uint64_t>(1.0 * estimate->weight_bytes * more / all);
  if (TensorBytes(file.get(), "output.weight") == 0) {
    estimate->weight_bytes += TensorBytes(file.get(), "token_embd.weight");
  }
  return absl::OkStatus();
}

// A GPU has all but the tables that tokens are looked up in; the one that is the last layer, too,
// is there twice. The library does not tell the sizes of weights that it does not load.
absl::Status CountGpuWeights(const std::string& path, MemoryEstimate* estimate) {
  ASSIGN_OR_RETURN(const GgufFile file, ReadHeader(path));
  const uint64_t table = TensorBytes(file.get(), "token_embd.weight");
  if (TensorBytes(file.get(), "output.weight") == 0) estimate->weight_bytes += table;
  estimate->gpu_bytes +=
      estimate->weight_bytes - table - TensorBytes(file.get(), "per_layer_token_embd.weight");
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
  if (gpu.empty()) {
    if (model->uses_amx()) RETURN_IF_ERROR(CountPacking(path, &estimate));
    return estimate;
  }
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
