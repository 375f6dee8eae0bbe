#!/usr/bin/env python3
"""Checks that llama.cpp, in corpgrid-worker, and PyTorch read the demo model alike: the same tokens, the same answers.
Then asks it the questions that were held out.

usage: check.py [FILE]     needs the folder of ./dev build, or what $CORPGRID_BIN names, and ./dev setup convert
"""
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

import gguf
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import answers
import english
import vocabulary
from examine import examine
from model import Llama, Shape

FOLDER = pathlib.Path(__file__).resolve().parent
BIN = pathlib.Path(os.environ.get("CORPGRID_BIN", FOLDER.parent.parent / "build/release"))
# Two tokens whose logits are nearer than that may change places: llama.cpp rounds what it multiplies to 8 bits.
NEAR = 0.1
ODD = ["", " ", "  two  blanks  ", "\n\n\tx\n", "don't you'll I'M", "3.14 1,000,000 v1.2-rc", "größer naïve Ελλάδα 日本語 🙂",
       "a\u00a0b\u2003c", "<|im_start|>user\nhi<|im_end|>\n", "--to=FILE {shard} $(x) `y` \\n", "É\u0301\u200d", "\r\n \r\n"]


def read(path):
    """The model with the very weights of the file, and its tokenizer."""
    reader = gguf.GGUFReader(path)
    words = reader.fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(merge.split(" ")) for merge in reader.fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(models.BPE({word: n for n, word in enumerate(words)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(vocabulary.CONTROL)
    llama = Llama(Shape())
    llama.load_state_dict({tensor.name: torch.tensor(gguf.dequantize(tensor.data, tensor.tensor_type))
                           for tensor in reader.tensors})
    return llama, tokenizer


class Worker:
    """corpgrid-worker with the file loaded."""

    def __init__(self, path):
        self.folder = tempfile.TemporaryDirectory(prefix="corpgrid-check.", dir="/var/tmp")
        self.socket = pathlib.Path(self.folder.name) / "worker.sock"
        self.process = subprocess.Popen([BIN / "corpgrid-worker", "--socket", self.socket], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        while not self.socket.exists() and self.process.poll() is None:
            time.sleep(0.05)
        self.call("Load", path=str(path), sequences=1, context=512, threads=1)

    def call(self, method, **request):
        """What it answers, a document a line."""
        done = subprocess.run([BIN / "worker_client", self.socket, method, json.dumps(request)], check=True,
                              capture_output=True, text=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def close(self):
        self.process.terminate()
        self.process.wait(30)
        self.folder.cleanup()


def check_tokens(worker, tokenizer, texts):
    for text in texts:
        ours, theirs = tokenizer.encode(text).ids, worker.call("Tokenize", text=text, special=True)[0].get("tokens", [])
        if ours != theirs:
            sys.exit(f"{text!r} is {ours} to us, {theirs} to llama.cpp")
    print(f"{len(texts)} texts have the same tokens")


@torch.no_grad()
def check_answers(worker, llama, tokenizer, questions):
    """Of each of llama.cpp's tokens PyTorch must say that it is the likeliest one, or as good as that."""
    worst, count = 0.0, 0
    for question in questions:
        conversation = [{"role": "user", "content": question}]
        prompt = worker.call("RenderChat", messages=json.dumps(conversation),
                             variables=json.dumps({"add_generation_prompt": True}))[0]["text"]
        if prompt != vocabulary.written(conversation):
            sys.exit(f"the template makes {prompt!r}")
        said = worker.call("Generate", text=prompt, special=True, max_tokens=100, sampling={"temperature": 0, "logprobs": True})
        tokens = [piece["token"]["token"] for answer in said for piece in answer.get("pieces", [])]
        before = tokenizer.encode(prompt).ids
        logits = llama(torch.tensor([before + tokens]))[0, len(before) - 1:-1]
        gaps = logits.max(-1).values - logits[range(len(tokens)), tokens]
        worst, count = max(worst, gaps.max().item()), count + len(tokens)
        if gaps.max() > NEAR:
            sys.exit(f"{question!r}: PyTorch would not say {tokenizer.decode(tokens)!r}")
    print(f"{count} tokens of {len(questions)} answers are the likeliest ones to both (at most {worst:.3f} from it)")


def main():
    path = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else FOLDER / "corpgrid-demo.gguf").resolve()
    torch.set_num_threads(1)
    llama, tokenizer = read(path)
    source = random.Random(2)
    entries = answers.read()
    texts = ODD + source.sample(english.paragraphs(1 << 20, 2), 150) + [answers.question(e, source) for e in entries]
    worker = Worker(path)
    try:
        check_tokens(worker, tokenizer, texts)
        check_answers(worker, llama, tokenizer, [question for entry in entries[::6] for question in entry.held_out])
    finally:
        worker.close()
    examine(llama, tokenizer, entries)


if __name__ == "__main__":
    main()
