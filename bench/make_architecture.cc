// Makes a model of random weights of any architecture that the library knows, for
// bench/estimate.py: bench_make_architecture FILE TYPE ARCHITECTURE KEY=VALUE…
//
// The values are the architecture's own ("block_count=16"), or "tokenizer.…"; the library says
// which tensors that takes. TYPE is one of `corpgrid model quantize`'s.

#include <gguf.h>
#include <llama.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <utility>

#include "inference/llama/library.h"
#include "inference/llama/quantize.h"

namespace {

struct GgufFree {
  void operator()(gguf_context* gguf) const { gguf_free(gguf); }
};
struct GgmlFree {
  void operator()(ggml_context* ggml) const { ggml_free(ggml); }
};
struct ModelFree {
  void operator()(llama_model* model) const { llama_model_free(model); }
};

// The file that comes to be. The library's own way to save a model leaves out what some
// architectures need.
struct File {
  std::unique_ptr<gguf_context, GgufFree> gguf{gguf_init_empty()};
  std::unique_ptr<ggml_context, GgmlFree> tensors{ggml_init(
      {.mem_size = 4096 * ggml_tensor_overhead(), .mem_buffer = nullptr, .no_alloc = true})};
  std::deque<std::string> bytes;  // of the tensors
};

// Norms are one, the rest is uniform, of a variance that keeps activations about as they are.
void Fill(ggml_tensor* tensor, void* user) {
  const auto count = static_cast<size_t>(ggml_nelements(tensor));
  const bool norm = std::strstr(tensor->name, "norm") != nullptr;
  const float scale = norm ? 0.0f : 1.7f / std::sqrt(static_cast<float>(tensor->ne[0]));
  std::string bytes(ggml_nbytes(tensor), '\0');
  auto* values = reinterpret_cast<float*>(bytes.data());
  uint64_t state = 0x9e3779b97f4a7c15;
  for (size_t i = 0; i < count && tensor->type == GGML_TYPE_F32; ++i) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    values[i] = (norm ? 1.0f : 0.0f) + (static_cast<float>(state >> 40) / (1 << 23) - 1.0f) * scale;
  }
  File& file = *static_cast<File*>(user);
  if (gguf_find_tensor(file.gguf.get(), tensor->name) >= 0) return;  // shared by layers
  ggml_tensor* copy = ggml_dup_tensor(file.tensors.get(), tensor);
  ggml_set_name(copy, tensor->name);
  copy->data = file.bytes.emplace_back(std::move(bytes)).data();
  gguf_add_tensor(file.gguf.get(), copy);
}

void SetValue(gguf_context* gguf, const std::string& key, const std::string& value) {
  if (value == "true" || value == "false") {
    gguf_set_val_bool(gguf, key.c_str(), value == "true");
  } else if (value.find_first_not_of("0123456789") == std::string::npos) {
    gguf_set_val_u32(gguf, key.c_str(), static_cast<uint32_t>(std::stoul(value)));
  } else if (value.find_first_not_of("0123456789.e-") == std::string::npos) {
    gguf_set_val_f32(gguf, key.c_str(), std::stof(value));
  } else {
    gguf_set_val_str(gguf, key.c_str(), value.c_str());
  }
}

int Fail(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  const std::string file = argv[1], type = argv[2], architecture = argv[3];
  if (const auto status = corpgrid::inference::PrepareLibrary(); !status.ok()) {
    return Fail(std::string(status.message()));
  }
  auto made = std::make_unique<File>();
  const auto& gguf = made->gguf;
  gguf_set_val_str(gguf.get(), "general.architecture", architecture.c_str());
  gguf_set_val_str(gguf.get(), "tokenizer.ggml.model", "no_vocab");
  for (int i = 4; i < argc; ++i) {
    const std::string pair = argv[i];
    const size_t equals = pair.find('=');
    if (equals == std::string::npos) return Fail(pair + " has no value");
    const std::string key = pair.substr(0, equals);
    SetValue(gguf.get(), key.starts_with("tokenizer.") ? key : architecture + "." + key,
             pair.substr(equals + 1));
  }
  const std::string whole = file + ".f32";
  {
    llama_model_params params = llama_model_default_params();
    params.load_mode = LLAMA_LOAD_MODE_NONE;
    params.use_extra_bufts = false;  // plain tensors, which can be written
    const std::unique_ptr<llama_model, ModelFree> model(
        llama_model_init_from_user(gguf.get(), Fill, made.get(), params));
    if (!model) return Fail("the library makes no such model");
  }
  if (!gguf_write_to_file(gguf.get(), whole.c_str(), /*only_meta=*/false)) {
    return Fail("cannot write " + whole);
  }
  made.reset();
  const absl::Status written = corpgrid::inference::Quantise(whole, file, type, [](double) {});
  std::remove(whole.c_str());
  return written.ok() ? 0 : Fail(std::string(written.message()));
}
