#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/call_once.h"
#include "absl/status/statusor.h"
#include "inference/chat.h"
#include "inference/llama/chat_template.h"
#include "inference/model_facts.h"
#include "inference/text_filter.h"
#include "inference/token.h"
#include "inference/token_filter.h"

struct llama_model;
struct llama_vocab;

namespace corpgrid::inference {

// A model whose weights were read from a GGUF file. Any thread.
class Model final : public Vocabulary {
 public:
  // Into the memory of a GPU that ListGpus() tells of; empty: processors compute it. Errors:
  // NotFound when there is no such file or GPU, InvalidArgument with the library's words when it
  // cannot be loaded, Unimplemented when it neither generates text token by token nor embeds it.
  static absl::StatusOr<std::unique_ptr<Model>> Load(const std::string& path,
                                                     const std::string& gpu = "");

  // The same without weights: for facts and estimates. It computes nothing.
  static absl::StatusOr<std::unique_ptr<Model>> LoadFacts(const std::string& path,
                                                          const std::string& gpu = "");

  Model(const Model&) = delete;
  ~Model() override;

  const ModelFacts& facts() const { return facts_; }

  // What the weights take in memory, laid out as the backends here want them; without weights: what
  // they would take.
  uint64_t buffer_bytes() const { return buffer_bytes_; }
  const std::string& gpu() const { return gpu_; }
  // Whether weights are kept as Intel's AMX multiplies them, which takes more memory.
  bool uses_amx() const { return uses_amx_; }
  llama_model* get() const { return model_; }
  const llama_vocab* vocabulary() const { return vocabulary_; }

  absl::StatusOr<std::vector<Token>> Tokenize(std::string_view text, bool add_start,
                                              bool special) const override;
  absl::StatusOr<std::unique_ptr<TokenFilter>> MakeFilter(const std::string& grammar,
                                                          bool with_control) const override;
  std::string Piece(Token token, bool control) const override;
  bool IsEnd(Token token) const override;

  // The text that asks the model to go on with a conversation, for Tokenize() with `add_start` and
  // `special`. Errors: FailedPrecondition when the model has no chat template, and those of
  // ChatTemplate.
  absl::StatusOr<std::string> RenderChat(const Chat& chat) const;

 private:
  explicit Model(llama_model* model);
  static absl::StatusOr<std::unique_ptr<Model>> Load(const std::string& path,
                                                     const std::string& gpu, bool weights);
  // `packed`: weights may be kept in the form that this processor multiplies fastest.
  static absl::StatusOr<std::unique_ptr<Model>> Load(const std::string& path,
                                                     const std::string& gpu, bool weights,
                                                     bool packed);

  llama_model* const model_;
  const llama_vocab* const vocabulary_;
  ModelFacts facts_;
  std::string gpu_;
  uint64_t buffer_bytes_ = 0;
  bool uses_amx_ = false;
  absl::StatusOr<ChatTemplate> chat_template_;
  mutable absl::once_flag fragments_once_;
  mutable Fragments fragments_;
};

}  // namespace corpgrid::inference
