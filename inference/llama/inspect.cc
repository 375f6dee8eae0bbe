#include "inference/llama/inspect.h"

#include <gguf.h>
#include <llama.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <fstream>
#include <memory>
#include <thread>

#include "base/file.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "fmt/format.h"
#include "inference/llama/embedder.h"
#include "inference/llama/estimate.h"
#include "inference/llama/library.h"
#include "inference/llama/llama_decoder.h"
#include "inference/llama/model.h"
#include "platform/memory.h"

namespace corpgrid::inference {
namespace {

constexpr uint64_t kAllowance = 4ull << 30;  // of memory, beside the weights
constexpr double kTryShare = 0.8;            // of what is free

struct GgufFree {
  void operator()(gguf_context* gguf) const { gguf_free(gguf); }
};
using Gguf = std::unique_ptr<gguf_context, GgufFree>;

// What the file's own words are, for a model that the library refuses. Absent values are zero.
class Metadata {
 public:
  explicit Metadata(const gguf_context* gguf) : gguf_(gguf) {}

  std::string Text(const std::string& key) const {
    const int64_t id = gguf_find_key(gguf_, key.c_str());
    const bool is = id >= 0 && gguf_get_kv_type(gguf_, id) == GGUF_TYPE_STRING;
    return is ? gguf_get_val_str(gguf_, id) : "";
  }

  uint32_t Number(const std::string& key) const {
    const int64_t id = gguf_find_key(gguf_, key.c_str());
    const bool is = id >= 0 && gguf_get_kv_type(gguf_, id) == GGUF_TYPE_UINT32;
    return is ? gguf_get_val_u32(gguf_, id) : 0;
  }

  ModelFacts Facts() const {
    ModelFacts facts;
    facts.name = Text("general.name");
    facts.architecture = Text("general.architecture");
    facts.chat_template = Text("tokenizer.chat_template");
    facts.trained_context = Number(facts.architecture + ".context_length");
    facts.layers = Number(facts.architecture + ".block_count");
    facts.embedding = Number(facts.architecture + ".embedding_length");
    facts.heads = Number(facts.architecture + ".attention.head_count");
    facts.kv_heads = Number(facts.architecture + ".attention.head_count_kv");
    for (int64_t i = 0; i < gguf_get_n_tensors(gguf_); ++i) {
      facts.weight_bytes += gguf_get_tensor_size(gguf_, i);
    }
    return facts;
  }

 private:
  const gguf_context* const gguf_;
};

// A file that makes the library want more ends this process alone, not the machine's others.
void AllowMemory(uint64_t bytes) {
  rlimit limit;
  if (getrlimit(RLIMIT_DATA, &limit) != 0) return;
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, bytes);
  setrlimit(RLIMIT_DATA, &limit);
}

// The file may have another place when this is read.
std::string ProblemOf(const absl::Status& status, const std::string& path) {
  std::string text(status.message());
  if (text.starts_with(path)) text.replace(0, path.size(), "it");
  return text;
}

uint32_t Threads() { return std::max(1u, std::thread::hardware_concurrency()); }

// Why it does not work; empty when it does.
absl::StatusOr<std::string> Compute(const std::string& path, const DecoderOptions& options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, Model::Load(path));
  const Token some = std::max(0, llama_vocab_bos(model->vocabulary()));
  if (model->facts().only_embeds) {
    ASSIGN_OR_RETURN(const auto embedder,
                     Embedder::Create(model.get(), options.context, options.threads));
    RETURN_IF_ERROR(embedder->Embed({&some, 1}).status());
    return "";
  }
  ASSIGN_OR_RETURN(const auto decoder, LlamaDecoder::Create(model.get(), options));
  const Row row = {.token = some, .position = 0, .slot = 0, .wants_logits = true};
  RETURN_IF_ERROR(decoder->Decode({&row, 1}));
  const std::span<const float> logits = decoder->Logits(0);
  const bool finite =
      std::all_of(logits.begin(), logits.end(), [](float x) { return std::isfinite(x); });
  return finite ? "" : "what it computes are no numbers: its weights are damaged";
}

absl::Status Try(const std::string& path, Compatibility* compatibility) {
  const DecoderOptions options = {
      .slots = 1, .context = 64, .step_tokens = 16, .threads = Threads()};
  ASSIGN_OR_RETURN(const MemoryEstimate estimate, EstimateMemory(path, options));
  const uint64_t free_bytes = platform::AvailableMemory().value_or(0);
  if (static_cast<double>(estimate.total_bytes()) > kTryShare * static_cast<double>(free_bytes)) {
    compatibility->problem =
        fmt::format("not tried: it needs {}, and {} are free", FormatBytes(estimate.total_bytes()),
                    FormatBytes(free_bytes));
    return absl::OkStatus();
  }
  AllowMemory(2 * estimate.total_bytes() + kAllowance);
  const absl::StatusOr<std::string> computed = Compute(path, options);
  compatibility->tried = true;
  compatibility->problem = computed.ok() ? *computed : ProblemOf(computed.status(), path);
  if (!compatibility->problem.empty()) compatibility->generates = compatibility->embeds = false;
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckFits(const std::string& path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, Model::LoadFacts(path));
  const uint64_t free_bytes = platform::AvailableMemory().value_or(0);
  if (static_cast<double>(model->buffer_bytes()) <= kTryShare * static_cast<double>(free_bytes)) {
    return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(fmt::format("{} has {} of weights, and {} of memory are free",
                                                  path, FormatBytes(model->buffer_bytes()),
                                                  FormatBytes(free_bytes)));
}

absl::StatusOr<Inspection> Inspect(const std::string& path, bool try_it) {
  RETURN_IF_ERROR(PrepareLibrary());
  AllowMemory(kAllowance);
  Inspection inspection;
  {
    const std::ifstream file(path);
    if (!file) return FileError(path, "open", errno);
    const LogCapture log;
    const Gguf gguf(gguf_init_from_file(path.c_str(), {.no_alloc = true, .ctx = nullptr}));
    if (!gguf) {
      return absl::InvalidArgumentError(
          fmt::format("{} is no GGUF file: {}", path, log.LastError("it does not begin as one")));
    }
    inspection.facts = Metadata(gguf.get()).Facts();
  }
  Compatibility& compatibility = inspection.compatibility;
  compatibility.library = DescribeLibrary();
  const absl::StatusOr<std::unique_ptr<Model>> model = Model::LoadFacts(path);
  compatibility.loads = model.ok() || model.status().code() == absl::StatusCode::kUnimplemented;
  if (!model.ok()) {
    compatibility.problem = ProblemOf(model.status(), path);
    return inspection;
  }
  inspection.facts = (*model)->facts();
  compatibility.embeds = inspection.facts.only_embeds;
  compatibility.generates = !compatibility.embeds;
  if (try_it) RETURN_IF_ERROR(Try(path, &compatibility));
  const bool has_tokens = llama_vocab_type((*model)->vocabulary()) != LLAMA_VOCAB_TYPE_NONE;
  if (compatibility.problem.empty() && !has_tokens) {
    compatibility.problem = "it has no tokenizer: it takes and gives numbers of tokens, no text";
  }
  return inspection;
}

}  // namespace corpgrid::inference
