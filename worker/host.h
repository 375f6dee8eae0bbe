#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "corpgrid/v1/worker.pb.h"
#include "inference/chat.h"
#include "inference/decoder.h"
#include "inference/model_facts.h"
#include "inference/token.h"

namespace corpgrid::worker {

// What embeddings take of the machine's memory beside the model's. Any thread.
struct EmbedderMemory {
  std::atomic<uint64_t> limit_bytes = 0;  // that both may need; 0: no limit
  std::atomic<uint64_t> bytes = 0;        // that embeddings need, once they were asked for
};

// A model that can be asked. The decoder goes before the vocabulary.
struct HostedModel {
  std::unique_ptr<inference::Vocabulary> vocabulary;
  std::unique_ptr<inference::Decoder> decoder;  // null: it generates no text
  uint32_t sequences = 1;                       // at once
  uint32_t context = 0;                         // tokens that each may have
  inference::ModelFacts facts;
  inference::MemoryEstimate estimate;
  std::string library;
  std::string gpu;         // that has it; empty: processors compute it
  std::string why_no_gpu;  // though one was allowed
  std::function<absl::StatusOr<std::string>(const inference::Chat& chat)> render_chat;
  // A vector for a text; one call at a time, beside the decoder's. Empty: it makes none.
  std::function<absl::StatusOr<std::vector<float>>(std::span<const inference::Token> text)> embed;
  std::shared_ptr<EmbedderMemory> embedder_memory = std::make_shared<EmbedderMemory>();
};

// Loads what a request with all its values filled in names.
using ModelLoader =
    std::function<absl::StatusOr<HostedModel>(const corpgrid::v1::LoadRequest& request)>;

}  // namespace corpgrid::worker
