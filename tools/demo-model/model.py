"""A llama in plain PyTorch: RMSNorm, rotary positions, grouped queries, SwiGLU, the embedding as the output."""
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional


class Shape(NamedTuple):
    vocabulary: int = 3072
    context: int = 512
    width: int = 256  # rows of this many weights, so that every type of quantisation works
    layers: int = 6
    heads: int = 8
    kv_heads: int = 4
    feed_forward: int = 768
    rope_base: float = 10000.0
    epsilon: float = 1e-5


def rotations(shape):
    """Cosines and sines of each position and pair, [context, head / 2]."""
    head = shape.width // shape.heads
    speed = shape.rope_base ** (-torch.arange(0, head, 2) / head)
    angle = torch.outer(torch.arange(shape.context), speed)
    return angle.cos(), angle.sin()


def rotate(x, cosine, sine):
    """Turns neighbours as pairs, as llama.cpp does for this architecture; [batch, heads, tokens, head]."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), -1).flatten(-2)


def attention(q, k, v):
    """Each token's mixture of the values up to it. PyTorch's own is a fifth as fast here: Debian's builds it without a
    fast library for the products inside, while these go to oneDNN."""
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return scores.masked_fill(later, float("-inf")).softmax(-1).to(v.dtype) @ v


class Layer(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.heads, self.kv_heads = shape.heads, shape.kv_heads
        kv_width = shape.width // shape.heads * shape.kv_heads
        self.attn_norm = nn.RMSNorm(shape.width, shape.epsilon)
        self.attn_q = nn.Linear(shape.width, shape.width, bias=False)
        self.attn_k = nn.Linear(shape.width, kv_width, bias=False)
        self.attn_v = nn.Linear(shape.width, kv_width, bias=False)
        self.attn_output = nn.Linear(shape.width, shape.width, bias=False)
        self.ffn_norm = nn.RMSNorm(shape.width, shape.epsilon)
        self.ffn_gate = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.ffn_up = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.ffn_down = nn.Linear(shape.feed_forward, shape.width, bias=False)

    def forward(self, x, cosine, sine):
        batch, tokens, _ = x.shape
        normed = self.attn_norm(x)
        q = self.attn_q(normed).view(batch, tokens, self.heads, -1).transpose(1, 2)
        k = self.attn_k(normed).view(batch, tokens, self.kv_heads, -1).transpose(1, 2)
        v = self.attn_v(normed).view(batch, tokens, self.kv_heads, -1).transpose(1, 2)
        q, k = rotate(q, cosine, sine).to(v.dtype), rotate(k, cosine, sine).to(v.dtype)
        share = self.heads // self.kv_heads
        mixed = attention(q, k.repeat_interleave(share, 1), v.repeat_interleave(share, 1))
        x = x + self.attn_output(mixed.transpose(1, 2).flatten(2))
        normed = self.ffn_norm(x)
        return x + self.ffn_down(functional.silu(self.ffn_gate(normed)) * self.ffn_up(normed))


class Llama(nn.Module):
    """Tensors have llama.cpp's names: token_embd, blk.N.attn_q and so on, output_norm."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocabulary, shape.width)
        self.blk = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.output_norm = nn.RMSNorm(shape.width, shape.epsilon)
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                last = name.endswith(("attn_output.weight", "ffn_down.weight"))
                nn.init.normal_(parameter, std=0.02 / (2 * shape.layers) ** 0.5 if last else 0.02)
        cosine, sine = rotations(shape)
        self.register_buffer("cosine", cosine, persistent=False)
        self.register_buffer("sine", sine, persistent=False)

    def forward(self, tokens, chosen=None):
        """Logits of what follows each token, [batch, tokens, vocabulary]; with `chosen` of these places only."""
        x = self.token_embd(tokens)
        length = tokens.shape[1]
        for layer in self.blk:
            x = layer(x, self.cosine[:length], self.sine[:length])
        x = self.output_norm(x)
        return functional.linear(x if chosen is None else x[chosen], self.token_embd.weight)


@torch.no_grad()
def continued(model, prompts, end, most=100):
    """The likeliest continuation of each prompt (lists of tokens) until the token `end`."""
    texts, unfinished = [list(prompt) for prompt in prompts], list(range(len(prompts)))
    for _ in range(most):
        if not unfinished:
            break
        longest = max(len(texts[n]) for n in unfinished)
        rows = torch.tensor([texts[n] + [end] * (longest - len(texts[n])) for n in unfinished])
        last = torch.zeros_like(rows, dtype=torch.bool)
        last[range(len(unfinished)), [len(texts[n]) - 1 for n in unfinished]] = True
        with torch.autocast("cpu", torch.bfloat16):
            likeliest = model(rows, last).argmax(-1).tolist()
        for n, token in zip(unfinished, likeliest):
            texts[n].append(token)
        unfinished = [n for n in unfinished if texts[n][-1] != end]
    return [text[len(prompt):] for text, prompt in zip(texts, prompts)]
