#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status_macros.h"
#include "base/text.h"
#include "inference/llama/embedder.h"
#include "inference/llama/estimate.h"
#include "inference/llama/gpus.h"
#include "inference/llama/library.h"
#include "inference/llama/llama_decoder.h"
#include "rpc/status.h"
#include "worker/gpus.h"
#include "worker/load_model.h"

namespace corpgrid::worker {
namespace {

namespace pb = corpgrid::v1;

// What a GPU's driver takes of the machine's memory without being used.
constexpr uint64_t kIdleDriverBytes = 64 << 20;

inference::DecoderOptions OptionsOf(const pb::LoadRequest& request) {
  return {.slots = request.sequences(),
          .context = request.context(),
          .step_tokens = request.step_tokens(),
          .threads = request.threads(),
          .layout = request.shared_memory() ? inference::KvShape::Layout::kShared
                                            : inference::KvShape::Layout::kStreams,
          .full_precision = request.full_precision()};
}

bool IsShared(const inference::DecoderOptions& options) {
  return options.layout == inference::KvShape::Layout::kShared;
}

std::string HowToNeedLess(const inference::DecoderOptions& options) {
  return options.slots > 1 && !IsShared(options)
             ? "load it with fewer sequences or a shorter context"
             : "load it with a shorter context";
}

std::string TokensOf(const inference::DecoderOptions& options) {
  return IsShared(options)
             ? fmt::format("{} tokens of all sequences together", options.context)
             : fmt::format("{} sequences of {} tokens", options.slots, options.context);
}

absl::Status TooLittleMemory(absl::Status status, uint64_t needs_bytes, uint64_t free_bytes) {
  pb::ErrorFacts facts;
  facts.set_needs_bytes(needs_bytes);
  facts.set_free_bytes(free_bytes);
  return rpc::WithFacts(std::move(status), facts);
}

// The library keeps some 48 bytes on each token that memory holds, also while it only estimates:
// what cannot fit must not take the machine's memory to say so.
absl::Status CheckTokens(const inference::DecoderOptions& options) {
  constexpr uint64_t kBytesPerToken = 48, kMostBytes = 2ull << 30;
  const uint64_t sequences = IsShared(options) ? 1 : std::max(1u, options.slots);
  if (options.context <= kMostBytes / kBytesPerToken / sequences) return absl::OkStatus();
  return TooLittleMemory(absl::ResourceExhaustedError(fmt::format(
                             "{} are more than the library can keep account of in {}; {}",
                             TokensOf(options), FormatBytes(kMostBytes), HowToNeedLess(options))),
                         sequences * options.context * kBytesPerToken, kMostBytes);
}

bool Fits(const pb::LoadRequest& request, const inference::MemoryEstimate& estimate) {
  return request.memory_limit_bytes() == 0 ||
         estimate.machine_bytes() <= request.memory_limit_bytes();
}

absl::Status CheckFits(const pb::LoadRequest& request, const inference::DecoderOptions& options,
                       const inference::MemoryEstimate& estimate) {
  if (Fits(request, estimate)) return absl::OkStatus();
  return TooLittleMemory(
      absl::ResourceExhaustedError(fmt::format(
          "{} needs about {} ({} of weights, {} for {}, {} to compute), and {} are allowed; {}",
          request.path(), FormatBytes(estimate.total_bytes()), FormatBytes(estimate.weight_bytes),
          FormatBytes(estimate.kv_bytes), TokensOf(options), FormatBytes(estimate.compute_bytes),
          FormatBytes(request.memory_limit_bytes()), HowToNeedLess(options))),
      estimate.machine_bytes(), request.memory_limit_bytes());
}

// Of those that the request allows, or of one of them; nameless where there is none.
pb::Gpu MostRoom(const pb::LoadRequest& request, const std::string& only = "") {
  pb::Gpu best;
  for (const inference::Gpu& gpu : inference::ListGpus()) {
    if (!only.empty() && gpu.name != only) continue;
    pb::Gpu offer = Offer(gpu, request.gpu_percent());
    if (best.name().empty() || offer.free_bytes() > best.free_bytes()) best = std::move(offer);
  }
  return best;
}

std::string TooMuch(const inference::MemoryEstimate& estimate, const pb::Gpu& gpu) {
  return fmt::format("about {} of {} ({}), and {} of the {} that may be in use are free",
                     FormatBytes(estimate.gpu_bytes), gpu.name(), gpu.description(),
                     FormatBytes(gpu.free_bytes()), FormatBytes(gpu.limit_bytes()));
}

// Whether the model has a place in the memory of the GPU that has most room; says which, or why
// not.
absl::StatusOr<bool> ChooseGpu(const pb::LoadRequest& request,
                               const inference::DecoderOptions& options, HostedModel* hosted) {
  if (request.gpu_percent() == 0) return false;
  if (request.gpu_percent() > 100) {
    return absl::InvalidArgumentError(
        fmt::format("{} % of a GPU is no part of it", request.gpu_percent()));
  }
  const pb::Gpu best = MostRoom(request);
  if (best.name().empty()) {
    hosted->why_no_gpu = "there is none";
    return false;
  }
  ASSIGN_OR_RETURN(const inference::MemoryEstimate estimate,
                   inference::EstimateMemory(request.path(), options, best.name()));
  if (estimate.gpu_bytes > best.free_bytes()) {
    hosted->why_no_gpu = "it needs " + TooMuch(estimate, best);
    return false;
  }
  if (!Fits(request, estimate)) {
    hosted->why_no_gpu = fmt::format(
        "beside {} it needs about {} of the machine's memory, and {} are allowed", best.name(),
        FormatBytes(estimate.machine_bytes()), FormatBytes(request.memory_limit_bytes()));
    return false;
  }
  hosted->gpu = best.name();
  hosted->estimate = estimate;
  return true;
}

// Beside what the model has already.
absl::StatusOr<std::shared_ptr<inference::Embedder>> MakeEmbedder(
    const inference::Model& model, const pb::LoadRequest& request, uint64_t used_bytes,
    uint32_t context, uint32_t threads, EmbedderMemory* memory) {
  ASSIGN_OR_RETURN(const inference::MemoryEstimate estimate,
                   inference::EstimateEmbedder(request.path(), context, threads, model.gpu()));
  const uint64_t limit = memory->limit_bytes;
  uint64_t needs_bytes = used_bytes + estimate.machine_bytes(), allowed_bytes = limit;
  std::string problem;
  if (limit > 0 && needs_bytes > limit) {
    problem = fmt::format("about {} beside the {} that the model has, and {} are allowed",
                          FormatBytes(estimate.machine_bytes()), FormatBytes(used_bytes),
                          FormatBytes(limit));
  } else if (!model.gpu().empty()) {
    const pb::Gpu gpu = MostRoom(request, model.gpu());
    if (estimate.gpu_bytes > gpu.free_bytes()) {
      problem = TooMuch(estimate, gpu);
      needs_bytes = estimate.gpu_bytes;
      allowed_bytes = gpu.free_bytes();
    }
  }
  if (!problem.empty()) {
    // It would not help to come again soon.
    return TooLittleMemory(
        absl::FailedPreconditionError(
            fmt::format("embeddings of up to {} tokens need {}; load it with a shorter context",
                        context, problem)),
        needs_bytes, allowed_bytes);
  }
  memory->bytes = estimate.machine_bytes();  // before they are taken: others may load meanwhile
  auto embedder = inference::Embedder::Create(&model, context, threads);
  if (!embedder.ok()) memory->bytes = 0;
  return embedder;
}

}  // namespace

absl::StatusOr<HostedModel> LoadModel(const pb::LoadRequest& request) {
  inference::DecoderOptions options = OptionsOf(request);
  if (options.context == 0) {
    ASSIGN_OR_RETURN(const auto facts, inference::Model::LoadFacts(request.path()));
    options.context = facts->facts().usual_context();
  }
  RETURN_IF_ERROR(CheckTokens(options));
  HostedModel hosted;
  ASSIGN_OR_RETURN(const bool has_gpu, ChooseGpu(request, options, &hosted));
  if (!has_gpu) {
    ASSIGN_OR_RETURN(hosted.estimate, inference::EstimateMemory(request.path(), options));
    if (request.gpu_percent() > 0) hosted.estimate.process_bytes += kIdleDriverBytes;
    RETURN_IF_ERROR(CheckFits(request, options, hosted.estimate));
  }
  ASSIGN_OR_RETURN(auto model, inference::Model::Load(request.path(), hosted.gpu));
  hosted.facts = model->facts();
  std::shared_ptr<inference::Embedder> embedder;
  if (hosted.facts.only_embeds) {
    hosted.context = inference::TextLimit(*model, options.context);
    ASSIGN_OR_RETURN(embedder,
                     inference::Embedder::Create(model.get(), hosted.context, options.threads));
  } else {
    ASSIGN_OR_RETURN(hosted.decoder, inference::LlamaDecoder::Create(model.get(), options));
    hosted.sequences = hosted.decoder->shape().slots;
    hosted.context = hosted.decoder->shape().max_sequence;
  }
  hosted.render_chat = [model = model.get()](const inference::Chat& chat) {
    return model->RenderChat(chat);
  };
  hosted.embedder_memory->limit_bytes = request.memory_limit_bytes();
  hosted.embed =
      [model = model.get(), request, used_bytes = hosted.estimate.machine_bytes(),
       context = hosted.context, threads = options.threads, memory = hosted.embedder_memory,
       embedder = std::move(embedder)](
          std::span<const inference::Token> text) mutable -> absl::StatusOr<std::vector<float>> {
    if (!embedder) {  // its memory is taken when it is first asked for
      ASSIGN_OR_RETURN(embedder,
                       MakeEmbedder(*model, request, used_bytes, context, threads, memory.get()));
    }
    return embedder->Embed(text);
  };
  hosted.vocabulary = std::move(model);
  hosted.library = inference::DescribeLibrary();
  return hosted;
}

}  // namespace corpgrid::worker
