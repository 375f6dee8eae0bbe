"""Writes the demo model as a GGUF file, its matrices in Q8_0."""
import json

import gguf

from vocabulary import CHAT_TEMPLATE, CONTROL, END, END_OF_TEXT

Q8_0, F32 = gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.F32


def write_facts(writer, shape):
    writer.add_name("CorpGrid demo")
    writer.add_description("A very small model that answers questions about CorpGrid")
    writer.add_license("Apache-2.0")
    writer.add_languages(["en"])
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def write_vocabulary(writer, tokenizer, size):
    """All `size` tokens; where training found fewer, the rest has names that no text has."""
    model = json.loads(tokenizer.to_str())["model"]
    names = {number: name for name, number in model["vocab"].items()}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([names.get(number, f"<|unused {number}|>") for number in range(size)])
    writer.add_token_types([gguf.TokenType.CONTROL if names.get(number) in CONTROL else gguf.TokenType.NORMAL
                            if number in names else gguf.TokenType.UNUSED for number in range(size)])
    writer.add_token_merges([" ".join(merge) for merge in model["merges"]])
    writer.add_bos_token_id(model["vocab"][END_OF_TEXT])
    writer.add_eos_token_id(model["vocab"][END])
    writer.add_eot_token_id(model["vocab"][END])
    writer.add_pad_token_id(model["vocab"][END_OF_TEXT])
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def write(path, model, tokenizer):
    writer = gguf.GGUFWriter(path, "llama")
    write_facts(writer, model.shape)
    write_vocabulary(writer, tokenizer, model.shape.vocabulary)
    for name, parameter in model.named_parameters():
        values = parameter.detach().float().numpy()
        kind = Q8_0 if values.ndim > 1 else F32
        writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
