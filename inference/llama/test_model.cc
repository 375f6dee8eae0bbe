#include "inference/llama/test_model.h"

#include <ggml.h>
#include <gguf.h>
#include <llama.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/status_macros.h"
#include "fmt/format.h"
#include "inference/llama/library.h"

namespace corpgrid::inference {
namespace {

constexpr char kChatTemplate[] =
    "{{ bos_token }}{% for message in messages %}<{{ message.role }}>{{ message.content }}</{{ "
    "message.role }}>"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";

struct Vocabulary {
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<int32_t> types;

  void Add(std::string token, float score, int32_t type) {
    tokens.push_back(std::move(token));
    scores.push_back(score);
    types.push_back(type);
  }
};

// Three control tokens, all bytes, the letters, then words of letters, each with a blank before it.
Vocabulary MakeVocabulary(uint32_t size, const std::vector<std::string>& control) {
  Vocabulary vocabulary;
  vocabulary.Add("<unk>", 0, LLAMA_TOKEN_TYPE_UNKNOWN);
  vocabulary.Add("<s>", 0, LLAMA_TOKEN_TYPE_CONTROL);
  vocabulary.Add("</s>", 0, LLAMA_TOKEN_TYPE_CONTROL);
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary.Add(fmt::format("<0x{:02X}>", byte), 0, LLAMA_TOKEN_TYPE_BYTE);
  }
  vocabulary.Add("\xE2\x96\x81", -1000, LLAMA_TOKEN_TYPE_NORMAL);  // a blank
  for (const std::string& name : control) vocabulary.Add(name, 0, LLAMA_TOKEN_TYPE_CONTROL);
  for (uint32_t n = 0; vocabulary.tokens.size() < size; ++n) {
    std::string word = n < 26 ? "" : "\xE2\x96\x81";
    for (uint32_t rest = n;; rest = rest / 26 - 1) {
      word += static_cast<char>('a' + rest % 26);
      if (rest < 26) break;
    }
    vocabulary.Add(std::move(word), -static_cast<float>(n), LLAMA_TOKEN_TYPE_NORMAL);
  }
  return vocabulary;
}

struct GgufFree {
  void operator()(gguf_context* gguf) const { gguf_free(gguf); }
};
struct GgmlFree {
  void operator()(ggml_context* context) const { ggml_free(context); }
};
using Gguf = std::unique_ptr<gguf_context, GgufFree>;

Gguf MakeMetadata(const TestModel& shape) {
  Gguf gguf(gguf_init_empty());
  gguf_set_val_str(gguf.get(), "general.architecture", "llama");
  gguf_set_val_str(gguf.get(), "general.name", "test");
  const std::pair<const char*, uint32_t> numbers[] = {
      {"llama.context_length", shape.context},
      {"llama.embedding_length", shape.embedding},
      {"llama.block_count", shape.layers},
      {"llama.feed_forward_length", shape.feed_forward},
      {"llama.attention.head_count", shape.heads},
      {"llama.attention.head_count_kv", shape.kv_heads},
      {"llama.rope.dimension_count", shape.embedding / shape.heads},
      {"llama.vocab_size", shape.vocabulary},
      {"tokenizer.ggml.bos_token_id", 1},
      {"tokenizer.ggml.eos_token_id", 2},
      {"tokenizer.ggml.unknown_token_id", 0}};
  for (const auto& [key, value] : numbers) gguf_set_val_u32(gguf.get(), key, value);
  gguf_set_val_f32(gguf.get(), "llama.attention.layer_norm_rms_epsilon", 1e-5f);
  gguf_set_val_str(gguf.get(), "tokenizer.ggml.model", "llama");
  gguf_set_val_str(gguf.get(), "tokenizer.chat_template",
                   shape.chat_template.empty() ? kChatTemplate : shape.chat_template.c_str());
  const Vocabulary vocabulary = MakeVocabulary(shape.vocabulary, shape.control);
  std::vector<const char*> texts;
  for (const std::string& token : vocabulary.tokens) texts.push_back(token.c_str());
  gguf_set_arr_str(gguf.get(), "tokenizer.ggml.tokens", texts.data(), texts.size());
  gguf_set_arr_data(gguf.get(), "tokenizer.ggml.scores", GGUF_TYPE_FLOAT32,
                    vocabulary.scores.data(), vocabulary.scores.size());
  gguf_set_arr_data(gguf.get(), "tokenizer.ggml.token_type", GGUF_TYPE_INT32,
                    vocabulary.types.data(), vocabulary.types.size());
  return gguf;
}

// Norms are one. Other weights are uniform, of a variance that keeps activations about as they are;
// those of the last matrix larger, so that answers are not all alike.
void Fill(ggml_tensor* tensor, uint64_t seed) {
  const auto count = static_cast<size_t>(ggml_nelements(tensor));
  auto* values = static_cast<float*>(tensor->data);
  std::fill_n(values, count, 1.0f);
  const std::string_view name = tensor->name;
  if (name.find("norm") != std::string_view::npos) return;
  uint64_t state = seed * 0x9e3779b97f4a7c15;
  for (const char c : name) state = (state ^ static_cast<uint8_t>(c)) * 1099511628211u;
  const float wide = name == "output.weight" ? 6.0f : 1.7f;
  const float scale =
      name == "token_embd.weight" ? 1.0f : wide / std::sqrt(static_cast<float>(tensor->ne[0]));
  for (size_t i = 0; i < count; ++i) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    values[i] = (static_cast<float>(state >> 40) / (1 << 23) - 1.0f) * scale;
  }
}

// The tensors' names and sizes, input first.
std::vector<std::pair<std::string, std::vector<int64_t>>> Tensors(const TestModel& shape) {
  const int64_t wide = shape.embedding, kv = wide / shape.heads * shape.kv_heads;
  const int64_t feed_forward = shape.feed_forward, vocabulary = shape.vocabulary;
  std::vector<std::pair<std::string, std::vector<int64_t>>> tensors = {
      {"token_embd.weight", {wide, vocabulary}},
      {"output_norm.weight", {wide}},
      {"output.weight", {wide, vocabulary}}};
  for (uint32_t layer = 0; layer < shape.layers; ++layer) {
    const std::pair<const char*, std::vector<int64_t>> parts[] = {
        {"attn_norm", {wide}},
        {"attn_q", {wide, wide}},
        {"attn_k", {wide, kv}},
        {"attn_v", {wide, kv}},
        {"attn_output", {wide, wide}},
        {"ffn_norm", {wide}},
        {"ffn_gate", {wide, feed_forward}},
        {"ffn_up", {wide, feed_forward}},
        {"ffn_down", {feed_forward, wide}}};
    for (const auto& [name, size] : parts) {
      tensors.emplace_back(fmt::format("blk.{}.{}.weight", layer, name), size);
    }
  }
  return tensors;
}

bool WriteWhole(const TestModel& shape, const std::string& path) {
  const auto tensors = Tensors(shape);
  size_t bytes = tensors.size() * (ggml_tensor_overhead() + 64);
  for (const auto& [name, size] : tensors) {
    bytes += static_cast<size_t>(size[0] * (size.size() > 1 ? size[1] : 1)) * sizeof(float);
  }
  const std::unique_ptr<ggml_context, GgmlFree> memory(
      ggml_init({.mem_size = bytes, .mem_buffer = nullptr, .no_alloc = false}));
  const Gguf gguf = MakeMetadata(shape);
  for (const auto& [name, size] : tensors) {
    ggml_tensor* tensor =
        ggml_new_tensor(memory.get(), GGML_TYPE_F32, static_cast<int>(size.size()), size.data());
    ggml_set_name(tensor, name.c_str());
    Fill(tensor, shape.seed);
    gguf_add_tensor(gguf.get(), tensor);
  }
  return gguf_write_to_file(gguf.get(), path.c_str(), /*only_meta=*/false);
}

absl::StatusOr<llama_ftype> FileType(const std::string& type) {
  static const std::map<std::string, llama_ftype> types = {{"F32", LLAMA_FTYPE_ALL_F32},
                                                           {"F16", LLAMA_FTYPE_MOSTLY_F16},
                                                           {"Q8_0", LLAMA_FTYPE_MOSTLY_Q8_0},
                                                           {"Q4_0", LLAMA_FTYPE_MOSTLY_Q4_0}};
  const auto found = types.find(type);
  if (found != types.end()) return found->second;
  return absl::InvalidArgumentError(
      fmt::format("\"{}\" is no type; F32, F16, Q8_0 and Q4_0 are", type));
}

}  // namespace

absl::Status MakeTestModel(const TestModel& shape, const std::string& path) {
  ASSIGN_OR_RETURN(const llama_ftype type, FileType(shape.type));
  RETURN_IF_ERROR(PrepareLibrary());
  const bool as_it_is = type == LLAMA_FTYPE_ALL_F32;
  const std::string whole = as_it_is ? path : path + ".f32";
  if (!WriteWhole(shape, whole)) return FileError(whole, "write", errno);
  if (as_it_is) return absl::OkStatus();
  const LogCapture log;
  llama_model_quantize_params quantize = llama_model_quantize_default_params();
  quantize.ftype = type;
  const uint32_t failed = llama_model_quantize(whole.c_str(), path.c_str(), &quantize);
  std::remove(whole.c_str());
  if (failed == 0) return absl::OkStatus();
  return absl::UnavailableError(
      fmt::format("{} cannot be written: {}", path, log.LastError("no reason given")));
}

}  // namespace corpgrid::inference
