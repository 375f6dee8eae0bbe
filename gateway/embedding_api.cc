// /v1/embeddings.
#include <bit>
#include <cstring>
#include <utility>

#include "crypto/base64.h"
#include "fmt/format.h"
#include "gateway/api.h"
#include "gateway/api_error.h"
#include "gateway/co_status.h"
#include "gateway/completion_request.h"

namespace corpgrid::gateway {
namespace {

namespace pb = corpgrid::v1;

constexpr size_t kMaxTexts = 2048;
// Of one call: it and its answer have to fit into messages.
constexpr int kMaxBatch = 64;
constexpr int64_t kMaxBatchTokens = 1 << 20;

struct EmbeddingRequest {
  std::string model;
  std::vector<Prompt> texts;
  bool base64 = false;
  int64_t dimensions = 0;  // 0: all that there are
};

absl::StatusOr<EmbeddingRequest> Parse(const Json& body) {
  EmbeddingRequest request;
  Fields fields(body);
  fields.Require("model");
  request.model = fields.Text("model");
  request.texts = ReadPrompts(&fields, "input", kMaxTexts);
  request.base64 = fields.Word("encoding_format", "float", {"float", "base64"}) == "base64";
  request.dimensions = fields.Integer("dimensions", 0, 1, 1 << 20);
  fields.Text("user");
  RETURN_IF_ERROR(fields.Finish());
  return request;
}

// As base64 these are the bytes of little-endian floats.
Json Encode(const pb::Embedding& embedding, bool base64) {
  if (!base64)
    return Json(std::vector<float>(embedding.values().begin(), embedding.values().end()));
  static_assert(std::endian::native == std::endian::little);
  std::string bytes(static_cast<size_t>(embedding.values_size()) * sizeof(float), '\0');
  std::memcpy(bytes.data(), embedding.values().data(), bytes.size());
  return crypto::ToBase64(bytes);
}

}  // namespace

Task<absl::Status> Api::Embed(http::Exchange* exchange, Admission::Ticket* ticket) {
  CO_ASSIGN_OR_RETURN(const Json body, ParseObject(exchange->request().body));
  CO_ASSIGN_OR_RETURN(const EmbeddingRequest request, Parse(body));
  CO_ASSIGN_OR_RETURN(const Model model, FindModel(request.model, *ticket));
  Usage usage(ticket);
  std::vector<pb::EmbedRequest> batches;
  int64_t batch_tokens = 0;  // of the last one
  for (const Prompt& text : request.texts) {
    pb::TokenList list;
    if (const auto* words = std::get_if<std::string>(&text)) {
      CO_ASSIGN_OR_RETURN(list, co_await TokensOf(model, *words, /*special=*/false));
    } else {
      const auto& given = std::get<std::vector<int32_t>>(text);
      list.mutable_tokens()->Add(given.begin(), given.end());
    }
    const int tokens = list.tokens_size();
    CO_RETURN_IF_ERROR(CheckLength(model.info, static_cast<size_t>(tokens), std::nullopt, "input"));
    usage.AddPrompt(static_cast<uint64_t>(tokens));
    if (batches.empty() || batches.back().texts_size() == kMaxBatch ||
        batch_tokens + tokens > kMaxBatchTokens) {
      batches.emplace_back();
      batch_tokens = 0;
    }
    batch_tokens += tokens;
    batches.back().add_texts()->Swap(&list);
  }
  Json data = Json::array();
  for (pb::EmbedRequest& batch : batches) {
    const int asked = batch.texts_size();
    batch.set_request_id(exchange->request().id);
    batch.set_client(ticket->key().name);
    CO_ASSIGN_OR_RETURN(const pb::EmbedResponse made,
                        co_await CallWorker<pb::EmbedResponse>(model.channel, "Embed",
                                                               std::move(batch), kLongCall));
    if (made.embeddings_size() != asked) co_return NotReadable("Embed");
    for (const pb::Embedding& embedding : made.embeddings()) {
      if (request.dimensions != 0 && request.dimensions != embedding.values_size()) {
        co_return BadField("dimensions",
                           fmt::format("dimensions can only be {} with this model: it was not "
                                       "made to be cut",
                                       embedding.values_size()));
      }
      Json one = {{"object", "embedding"}, {"index", data.size()}};
      one["embedding"] = Encode(embedding, request.base64);
      data.push_back(std::move(one));
    }
  }
  Json answer = {{"object", "list"}, {"model", request.model}};
  answer["data"] = std::move(data);
  answer["usage"] = {{"prompt_tokens", usage.prompt()}, {"total_tokens", usage.prompt()}};
  co_await SendJson(exchange, std::move(answer));
  co_return absl::OkStatus();
}

}  // namespace corpgrid::gateway
