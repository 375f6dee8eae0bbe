#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "corpgrid/v1/worker.pb.h"
#include "inference/chat.h"
#include "inference/decoder.h"
#include "inference/model_facts.h"
#include "inference/token.h"

namespace corpgrid::worker {

// A model that can be asked. The decoder goes before the vocabulary.
struct HostedModel {
  std::unique_ptr<inference::Vocabulary> vocabulary;
  std::unique_ptr<inference::Decoder> decoder;
  inference::ModelFacts facts;
  inference::MemoryEstimate estimate;
  std::string library;
  std::function<absl::StatusOr<std::string>(const inference::Chat& chat)> render_chat;
};

// Loads what a request with all its values filled in names.
using ModelLoader =
    std::function<absl::StatusOr<HostedModel>(const corpgrid::v1::LoadRequest& request)>;

}  // namespace corpgrid::worker
