#include "inference/llama/model.h"

#include <llama.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "base/file.h"
#include "base/status_macros.h"
#include "fmt/format.h"
#include "inference/llama/buffer_log.h"
#include "inference/llama/grammar_filter.h"
#include "inference/llama/library.h"

namespace corpgrid::inference {
namespace {

// An absent value is the empty string.
std::string Metadata(const llama_model* model, const char* key) {
  std::string value(256, '\0');
  const int32_t length = llama_model_meta_val_str(model, key, value.data(), value.size());
  if (length < 0) return "";
  if (static_cast<size_t>(length) >= value.size()) {
    value.resize(static_cast<size_t>(length) + 1);
    llama_model_meta_val_str(model, key, value.data(), value.size());
  }
  value.resize(static_cast<size_t>(length));
  return value;
}

// The library describes a model as "llama 254M Q8_0": the last part is what its weights are.
std::string Quantisation(const llama_model* model, const std::string& architecture) {
  char text[256];
  llama_model_desc(model, text, sizeof text);
  std::string_view description = text;
  if (description.starts_with(architecture)) description.remove_prefix(architecture.size());
  const size_t size = description.find_first_not_of(' ');
  if (size == std::string_view::npos) return "";
  const size_t type = description.find(' ', size);
  return type == std::string_view::npos ? "" : std::string(description.substr(type + 1));
}

std::string TextOf(const llama_vocab* vocabulary, llama_token token) {
  return token == LLAMA_TOKEN_NULL ? "" : llama_vocab_get_text(vocabulary, token);
}

absl::StatusOr<ChatTemplate> ParseTemplate(const llama_model* model,
                                           const llama_vocab* vocabulary) {
  const char* source = llama_model_chat_template(model, nullptr);
  if (source == nullptr) {
    return absl::FailedPreconditionError(
        "this model has no chat template; give it text to go on with instead");
  }
  // What the tokenizer adds by itself must not be there twice.
  const std::string start =
      llama_vocab_get_add_bos(vocabulary) ? "" : TextOf(vocabulary, llama_vocab_bos(vocabulary));
  return ChatTemplate::Parse(source, start, TextOf(vocabulary, llama_vocab_eos(vocabulary)));
}

bool UsesAmx(const std::vector<std::string>& log) {
  return std::any_of(log.begin(), log.end(), [](const std::string& line) {
    return line.find(" AMX model buffer size") != std::string::npos;
  });
}

uint32_t Count(int32_t n) { return n > 0 ? static_cast<uint32_t>(n) : 0; }

}  // namespace

Model::Model(llama_model* model)
    : model_(model),
      vocabulary_(llama_model_get_vocab(model)),
      chat_template_(ParseTemplate(model, vocabulary_)) {
  facts_.name = Metadata(model, "general.name");
  facts_.architecture = Metadata(model, "general.architecture");
  facts_.quantisation = Quantisation(model, facts_.architecture);
  facts_.parameters = llama_model_n_params(model);
  facts_.weight_bytes = llama_model_size(model);
  facts_.trained_context = Count(llama_model_n_ctx_train(model));
  facts_.layers = Count(llama_model_n_layer(model));
  facts_.embedding = Count(llama_model_n_embd(model));
  facts_.heads = Count(llama_model_n_head(model));
  facts_.kv_heads = Count(llama_model_n_head_kv(model));
  facts_.vocabulary = Count(llama_vocab_n_tokens(vocabulary_));
  if (const char* text = llama_model_chat_template(model, nullptr)) facts_.chat_template = text;
  // Each token sees those after it, too; the library's text alone says so of the last one.
  facts_.only_embeds =
      (Metadata(model, (facts_.architecture + ".attention.causal").c_str()) == "false" &&
       facts_.architecture != "wavtokenizer-dec") ||  // which makes sounds
      facts_.architecture == "gemma-embedding";
  facts_.reuses_prefixes = !llama_model_is_recurrent(model) && !llama_model_is_hybrid(model);
}

Model::~Model() { llama_model_free(model_); }

absl::StatusOr<std::unique_ptr<Model>> Model::Load(const std::string& path,
                                                   const std::string& gpu) {
  return Load(path, gpu, /*weights=*/true);
}

absl::StatusOr<std::unique_ptr<Model>> Model::LoadFacts(const std::string& path,
                                                        const std::string& gpu) {
  return Load(path, gpu, /*weights=*/false);
}

absl::StatusOr<std::unique_ptr<Model>> Model::Load(const std::string& path, const std::string& gpu,
                                                   bool weights) {
  ASSIGN_OR_RETURN(std::unique_ptr<Model> model, Load(path, gpu, weights, /*packed=*/true));
  // Where each sequence has a matrix of its own to multiply, as in recurrent models, the library's
  // multiplication for Intel's AMX reads behind the weights: rubbish, or the worker's end
  // (docs/decisions/0021).
  if (!model->uses_amx_ || model->facts_.reuses_prefixes) return model;
  model.reset();
  return Load(path, gpu, weights, /*packed=*/false);
}

absl::StatusOr<std::unique_ptr<Model>> Model::Load(const std::string& path, const std::string& gpu,
                                                   bool weights, bool packed) {
  RETURN_IF_ERROR(PrepareLibrary());
  struct stat file;
  if (stat(path.c_str(), &file) != 0) return FileError(path, "open", errno);
  if (!S_ISREG(file.st_mode)) {
    return absl::InvalidArgumentError(fmt::format("{} is no file; a GGUF model is expected", path));
  }
  llama_model_params params = llama_model_default_params();
  ggml_backend_dev_t devices[] = {nullptr, nullptr};  // none but the processors
  if (!gpu.empty()) {
    devices[0] = ggml_backend_dev_by_name(gpu.c_str());
    if (devices[0] == nullptr) return absl::NotFoundError("there is no GPU " + gpu);
  }
  params.devices = devices;
  params.n_gpu_layers = gpu.empty() ? 0 : -1;  // all
  params.no_alloc = !weights;
  params.use_extra_bufts = packed;
  // Memory of our own can have large pages, the mapped file's cannot: a step is 6 % faster for it
  // (docs/decisions/0021). Without weights nothing can be mapped at all.
  params.load_mode = LLAMA_LOAD_MODE_NONE;
  const LogCapture log;
  llama_model* loaded = llama_model_load_from_file(path.c_str(), params);
  if (loaded == nullptr) {
    return absl::InvalidArgumentError(
        fmt::format("{} cannot be loaded: {}", path, log.LastError("no reason was given")));
  }
  std::unique_ptr<Model> model(new Model(loaded));
  model->uses_amx_ = UsesAmx(log.Lines());
  model->buffer_bytes_ =
      std::max(ReadBuffers(log.Lines(), "model", gpu).bytes, model->facts_.weight_bytes);
  model->gpu_ = gpu;
  if (llama_model_has_encoder(loaded) || !llama_model_has_decoder(loaded) ||
      llama_model_is_diffusion(loaded)) {
    return absl::UnimplementedError(
        fmt::format("{} is of the architecture {}, which does not generate text token by token; "
                    "such models are not supported",
                    path, model->facts_.architecture));
  }
  return model;
}

absl::StatusOr<std::vector<Token>> Model::Tokenize(std::string_view text, bool add_start,
                                                   bool special) const {
  if (llama_vocab_type(vocabulary_) == LLAMA_VOCAB_TYPE_NONE) {
    return absl::FailedPreconditionError(
        "this model has no tokenizer; give the prompt as tokens, or convert the model again with "
        "its tokenizer");
  }
  if (text.size() > INT_MAX / 2) {
    return absl::InvalidArgumentError(fmt::format("a text of {} bytes is too large", text.size()));
  }
  std::vector<Token> tokens(text.size() + 8);
  const auto tokenize = [&] {
    return llama_tokenize(vocabulary_, text.data(), static_cast<int32_t>(text.size()),
                          tokens.data(), static_cast<int32_t>(tokens.size()), add_start, special);
  };
  int32_t count = tokenize();
  if (count < 0 && count != INT32_MIN) {
    tokens.resize(static_cast<size_t>(-count));
    count = tokenize();
  }
  if (count < 0) return absl::InternalError("the text cannot be tokenized");
  tokens.resize(static_cast<size_t>(count));
  return tokens;
}

absl::StatusOr<std::unique_ptr<TokenFilter>> Model::MakeFilter(const std::string& grammar,
                                                               bool with_control) const {
  ASSIGN_OR_RETURN(auto filter, MakeGrammarFilter(vocabulary_, grammar));
  absl::call_once(fragments_once_, [this] { fragments_ = FragmentsOf(*this, facts_.vocabulary); });
  return KeepText(std::move(filter), &fragments_, with_control);
}

std::string Model::Piece(Token token, bool control) const {
  // The library would end the process.
  if (llama_vocab_type(vocabulary_) == LLAMA_VOCAB_TYPE_NONE) return "";
  std::string piece(32, '\0');
  const auto write = [&] {
    return llama_token_to_piece(vocabulary_, token, piece.data(),
                                static_cast<int32_t>(piece.size()), 0, control);
  };
  int32_t length = write();
  if (length < 0) {
    piece.resize(static_cast<size_t>(-length));
    length = write();
  }
  piece.resize(Count(length));
  return piece;
}

absl::StatusOr<std::string> Model::RenderChat(const Chat& chat) const {
  RETURN_IF_ERROR(chat_template_.status());
  return chat_template_->Render(chat);
}

bool Model::IsEnd(Token token) const { return llama_vocab_is_eog(vocabulary_, token); }

}  // namespace corpgrid::inference
