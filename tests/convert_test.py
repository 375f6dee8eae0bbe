"""corpgrid model add FOLDER: a tiny llama of random weights as safetensors, made here, becomes a model that computes.

The test with the real converter runs only when asked for: convert_test.py ConverterTest, after ./dev setup convert.
"""
import json
import os
import pathlib
import random
import struct
import subprocess
import tempfile
import unittest

from grid import BIN

WORKER = BIN / "corpgrid-worker"
LAYERS, WIDE, HEADS, KV_HEADS, FEED_FORWARD = 2, 64, 4, 2, 128
LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]


def tokenizer():
    """As the tokenizers library writes those of the Llama 2 kind: BPE that falls back to bytes."""
    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", *LETTERS, "\u2581t", "he", "\u2581the"]
    special = [{"id": n, "content": words[n], "special": True, "single_word": False, "lstrip": False, "rstrip": False,
                "normalized": False} for n in range(3)]
    return len(words), {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "\u2581"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
        "pre_tokenizer": None, "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True,
                  "vocab": {word: n for n, word in enumerate(words)}, "merges": ["\u2581 t", "h e", "\u2581t he"]}}


def tensors(vocabulary):
    kv = WIDE // HEADS * KV_HEADS
    yield from (("model.embed_tokens.weight", (vocabulary, WIDE)), ("lm_head.weight", (vocabulary, WIDE)),
                ("model.norm.weight", (WIDE,)))
    for layer in range(LAYERS):
        for name, shape in (("self_attn.q_proj", (WIDE, WIDE)), ("self_attn.k_proj", (kv, WIDE)),
                            ("self_attn.v_proj", (kv, WIDE)), ("self_attn.o_proj", (WIDE, WIDE)),
                            ("mlp.gate_proj", (FEED_FORWARD, WIDE)), ("mlp.up_proj", (FEED_FORWARD, WIDE)),
                            ("mlp.down_proj", (WIDE, FEED_FORWARD)), ("input_layernorm", (WIDE,)),
                            ("post_attention_layernorm", (WIDE,))):
            yield f"model.layers.{layer}.{name}.weight", shape


def write_model(folder):
    folder.mkdir()
    vocabulary, words = tokenizer()
    (folder / "tokenizer.json").write_text(json.dumps(words))
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
         "add_bos_token": True, "chat_template": "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"}))
    (folder / "config.json").write_text(json.dumps(
        {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": WIDE, "num_hidden_layers": LAYERS,
         "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "intermediate_size": FEED_FORWARD,
         "vocab_size": vocabulary, "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
         "hidden_act": "silu", "tie_word_embeddings": False, "torch_dtype": "float32", "bos_token_id": 1, "eos_token_id": 2}))
    source, header, data = random.Random(1), {}, b""
    for name, shape in tensors(vocabulary):
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        values = [1.0] * count if "norm" in name else [source.uniform(-0.2, 0.2) for _ in range(count)]
        packed = struct.pack(f"<{count}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(packed)]}
        data += packed
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    return vocabulary


@unittest.skipUnless(WORKER.exists(), "built without the inference libraries")
class FolderTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="corpgrid-convert.", dir="/var/tmp")
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)
        self.model = self.folder / "tiny-llama"
        self.vocabulary = write_model(self.model)

    def run_model(self, *words, converter=None):
        env = {**os.environ, **({"CORPGRID_CONVERTER": str(converter)} if converter else {})}
        return subprocess.run([BIN / "corpgrid", "model", *words, "--data", self.folder, "--json"], env=env,
                              capture_output=True, text=True, timeout=300)


class ConverterTest(FolderTest):
    def test_a_folder_becomes_a_model(self):
        added = self.run_model("add", self.model)
        self.assertEqual(added.returncode, 0, added.stderr)
        model = json.loads(added.stdout)
        self.assertEqual(model["name"], "tiny-llama")
        facts = model["facts"]
        self.assertEqual((facts["architecture"], facts["layers"], facts["vocabulary"], facts["trained_context"]),
                         ("llama", LAYERS, self.vocabulary, 512))
        self.assertEqual(facts["parameters"], sum(
            shape[0] * (shape[1] if len(shape) > 1 else 1) for _, shape in tensors(self.vocabulary)))
        self.assertIn("[{{ m.role }}]", facts["chat_template"])
        self.assertTrue(model["verdict"]["tried"] and model["verdict"]["generates"])
        self.assertEqual(sorted(os.listdir(self.folder / "models/tiny-llama")), ["manifest.json", "tiny-llama.gguf"])
        (self.model / "config.json").write_text('{"architectures": ["NoSuchModel"]}')
        refused = self.run_model("add", self.model, "--name", "other")
        self.assertEqual(refused.returncode, 2, refused.stderr)
        self.assertRegex(refused.stderr, "cannot be converted; .*NoSuchModel")
        self.assertEqual(os.listdir(self.folder / "models/.staging"), [])


class ConvertTest(FolderTest):
    def test_what_cannot_be_converted_is_said(self):
        missing = self.run_model("add", self.model, converter=self.folder / "none")
        self.assertRegex(missing.stderr, "none: cannot run: No such file")
        (self.folder / "empty").mkdir()
        empty = self.run_model("add", self.folder / "empty", converter="/bin/false")
        self.assertRegex(empty.stderr, "a folder with config.json, .* is expected")
        failed = self.run_model("add", self.model, converter="/bin/false")
        self.assertRegex(failed.stderr, "cannot be converted; the converter's last words")
        # Programs that lie beside the data are kept from the converter, which might run them.
        (self.model / "evil.py").write_text("raise SystemExit\n")
        lists = self.folder / "lists"
        lists.write_text("#!/bin/sh\nls -A $1\nexit 1\n")
        lists.chmod(0o755)
        listed = self.run_model("add", self.model, converter=lists)
        self.assertRegex(listed.stderr, "config.json / model.safetensors / tokenizer.json / tokenizer_config.json$")
        self.assertNotIn("evil", listed.stderr)
        for done in (missing, empty, failed, listed):
            self.assertIn(done.returncode, (1, 2))
        self.assertEqual(os.listdir(self.folder / "models/.staging"), [])


if __name__ == "__main__":
    unittest.main(defaultTest="ConvertTest", verbosity=2)
