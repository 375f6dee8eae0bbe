#!/usr/bin/env python3
"""Trains the demo model and writes corpgrid-demo.gguf; ./dev demo-model runs it.

The same seed and number of threads give the same file on one machine, unless the time limit ends the training early.
"""
import argparse
import math
import os
import pathlib
import random
import time

import torch
from torch.nn import functional

import answers
import english
import gguf_file
import vocabulary
from examine import examine
from model import Llama, Shape

FILE = pathlib.Path(__file__).resolve().parent / "corpgrid-demo.gguf"
BATCH_TOKENS = 2048
POOL = 2048  # conversations that are made, and sorted by length, at a time
# Which answer it is shows in its first tokens; the rest is soon known by heart. So most conversations end there, and
# more questions fit into the time.
CUT_SHARE, CUT_TOKENS = 0.7, 16
PEAK_RATE, LAST_RATE = 1.5e-3, 1.5e-5
WARM_UP_STEPS = 100
# Until then half of the batches are English, then few: the rest is for the answers.
ENGLISH_UNTIL, ENGLISH_SHARE, ENGLISH_SHARE_AFTER = 0.2, 0.5, 0.04


def arguments():
    parser = argparse.ArgumentParser(description="Trains the demo model.")
    parser.add_argument("--out", type=pathlib.Path, default=FILE, help="the GGUF file to write")
    parser.add_argument("--steps", type=int, default=2400, help="of training")
    parser.add_argument("--minutes", type=float, default=28, help="that training may take at most")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="that compute")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def english_batches(tokenizer, paragraphs, context, source):
    """Endless batches of rows of the context's length: tokens, and that each is to be said."""
    end = tokenizer.token_to_id(vocabulary.END_OF_TEXT)
    stream = [token for found in tokenizer.encode_batch(paragraphs) for token in [*found.ids, end]]
    rows = torch.tensor(stream[:len(stream) // context * context]).view(-1, context)
    while True:
        for chosen in torch.tensor(source.sample(range(len(rows)), len(rows))).split(BATCH_TOKENS // context):
            yield rows[chosen], torch.ones_like(rows[chosen], dtype=torch.bool)


def answer_batches(tokenizer, entries, words, context, source):
    """Endless batches of conversations of about one length: tokens, and which of them are to be said."""
    while True:
        pool = sorted((vocabulary.encoded(tokenizer, answers.conversation(entries, words, source),
                                          CUT_TOKENS if source.random() < CUT_SHARE else None)
                       for _ in range(POOL)), key=lambda sample: len(sample[0]))
        batches, batch = [], []
        for sample in pool:
            if batch and (len(batch) + 1) * len(sample[0]) > BATCH_TOKENS:
                batches.append(batch)
                batch = []
            batch.append(sample)
        batches.append(batch)
        source.shuffle(batches)
        for batch in batches:
            longest = min(context, len(batch[-1][0]))
            tokens = torch.zeros(len(batch), longest, dtype=torch.long)
            said = torch.zeros(len(batch), longest, dtype=torch.bool)
            for row, (ids, flags) in enumerate(batch):
                tokens[row, :len(ids)] = torch.tensor(ids)[:longest]
                said[row, :len(ids)] = torch.tensor(flags)[:longest]
            yield tokens, said


def optimizer_of(model):
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    return torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
                             betas=(0.9, 0.95), fused=True)


def step_loss(model, tokens, said):
    chosen = torch.zeros_like(said)
    chosen[:, :-1] = said[:, 1:]
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(tokens, chosen)
    return functional.cross_entropy(logits.float(), tokens[said & (torch.arange(said.shape[1]) > 0)])


def train(model, english_source, answer_source, options, source):
    """Trains until the steps are done or the time is over; the rate falls with whichever is nearer."""
    optimizer, begin, seen = optimizer_of(model), time.monotonic(), 0
    losses = {"english": 0.0, "answers": 0.0}
    step, done = 0, 0.0
    while done < 1:
        share = ENGLISH_SHARE if done < ENGLISH_UNTIL else ENGLISH_SHARE_AFTER
        kind = "english" if source.random() < share else "answers"
        tokens, said = next(english_source if kind == "english" else answer_source)
        rate = LAST_RATE + (PEAK_RATE - LAST_RATE) * (1 + math.cos(math.pi * done)) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / WARM_UP_STEPS)
        loss = step_loss(model, tokens, said)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step, seen = step + 1, seen + tokens.numel()
        losses[kind] += (loss.item() - losses[kind]) * (0.05 if losses[kind] else 1)
        took = time.monotonic() - begin
        done = max(step / options.steps, took / 60 / options.minutes)
        if step % 100 == 0 or done >= 1:
            print(f"step {step}: loss of answers {losses['answers']:.3f}, of English {losses['english']:.3f}; "
                  f"{seen / took:.0f} tokens/s, {took / 60:.1f} min, {took * (1 / done - 1) / 60:.1f} to go", flush=True)


def main():
    options = arguments()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    source, shape = random.Random(options.seed), Shape()
    entries = answers.read()
    paragraphs = english.paragraphs(5_000_000, options.seed)
    words = answers.unknown_words(paragraphs, entries)
    print(f"{len(entries)} answers; {sum(map(len, paragraphs)) / 1e6:.1f} million characters of English", flush=True)
    talks = [answers.conversation(entries, words, source) for _ in range(10_000)]
    tokenizer = vocabulary.train(
        paragraphs + [m["content"] for talk in talks for m in talk], shape.vocabulary)
    model = Llama(shape)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} million parameters", flush=True)
    train(model, english_batches(tokenizer, paragraphs, shape.context, source),
          answer_batches(tokenizer, entries, words, shape.context, source), options, source)
    gguf_file.write(options.out, model, tokenizer)
    print(f"{options.out}: {options.out.stat().st_size / (1 << 20):.2f} MiB")
    examine(model, tokenizer, entries)


if __name__ == "__main__":
    main()
