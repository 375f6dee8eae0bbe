#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "inference/token.h"

struct llama_model;
struct llama_vocab;

namespace corpgrid::inference {

// What a model's file says of it.
struct ModelFacts {
  std::string name;
  std::string architecture;
  std::string quantisation;  // "Q8_0", "Q4_K - Medium"
  uint64_t parameters = 0;
  uint64_t weight_bytes = 0;
  uint32_t trained_context = 0;  // tokens
  uint32_t layers = 0;
  uint32_t embedding = 0;
  uint32_t heads = 0;
  uint32_t kv_heads = 0;
  uint32_t vocabulary = 0;
  std::string chat_template;     // empty: none
  bool reuses_prefixes = false;  // its memory is of keys and values alone, and can be cut
};

// A model whose weights are mapped or read from a GGUF file. Any thread.
class Model final : public Vocabulary {
 public:
  // Errors: NotFound when there is no such file, InvalidArgument with the library's words when it
  // cannot be loaded, Unimplemented when it is of a kind that generates no text.
  static absl::StatusOr<std::unique_ptr<Model>> Load(const std::string& path);

  // The same without weights: for facts and estimates. It computes nothing.
  static absl::StatusOr<std::unique_ptr<Model>> LoadFacts(const std::string& path);

  Model(const Model&) = delete;
  ~Model() override;

  const ModelFacts& facts() const { return facts_; }
  llama_model* get() const { return model_; }

  // `special`: whether "<s>" and the like in the text stand for control tokens. The beginning that
  // the model expects is added when `add_start`. Errors: InvalidArgument for a text too large.
  absl::StatusOr<std::vector<Token>> Tokenize(std::string_view text, bool add_start,
                                              bool special) const;

  std::string Piece(Token token) const override;
  bool IsEnd(Token token) const override;

 private:
  explicit Model(llama_model* model);
  static absl::StatusOr<std::unique_ptr<Model>> Load(const std::string& path, bool weights);

  llama_model* const model_;
  const llama_vocab* const vocabulary_;
  ModelFacts facts_;
};

}  // namespace corpgrid::inference
