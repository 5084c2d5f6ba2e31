#!/usr/bin/env python3
"""PyTorch baseline for the collection bench: activation records of every MLP neuron of a GPT-2-small-shaped model.

The model has random weights and GPT-2 small's shape (12 blocks, 768 wide, 12 heads, MLP 3072, vocabulary 50257, 64
positions used), float32, no unembedding. Windows of 64 random tokens go through it in batches under
torch.inference_mode(); attention is scaled_dot_product_attention or written out, whichever is faster on the spot.

What is timed, after a warm-up batch:
  forward            the forward pass alone
  forward + records  with a hook on the MLP activations of all 12 blocks that keeps, for each of the 36,864 neurons, sum
                     and sum of squares over all tokens and the 20 windows of greatest maximum with their 64 activations.
                     The 20 are merged a batch with torch.topk; only neurons whose list changes are touched, and the time
                     to fill empty lists is in the first batches, as in any engine: --warm-batches of them are not timed.

Run:  python scripts/bench_pytorch.py [--threads 1] [--batch 16] [--batches 4] [--warm-batches 2]
Prints one JSON object: tokens_per_s of both, the matmul GFLOP/s at 1024x768x3072, attention, versions.
Made with torch 2.15.0.
"""

import argparse
import json
import time

import torch
import torch.nn.functional as F
from torch import nn

N_LAYERS, D_MODEL, N_HEADS, D_MLP, VOCAB, WINDOW, TOP = 12, 768, 12, 3072, 50257, 64, 20


class Block(nn.Module):
    def __init__(self, attention):
        super().__init__()
        self.attention = attention
        self.ln_1, self.ln_2 = nn.LayerNorm(D_MODEL), nn.LayerNorm(D_MODEL)
        self.qkv, self.project = nn.Linear(D_MODEL, 3 * D_MODEL), nn.Linear(D_MODEL, D_MODEL)
        self.up, self.down = nn.Linear(D_MODEL, D_MLP), nn.Linear(D_MLP, D_MODEL)
        self.act = nn.GELU(approximate="tanh")
        self.register_buffer("mask", torch.full((WINDOW, WINDOW), float("-inf")).triu(1))

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = (y.view(b, t, N_HEADS, -1).transpose(1, 2) for y in self.qkv(self.ln_1(x)).chunk(3, dim=-1))
        if self.attention == "sdpa":
            z = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            z = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + self.mask).softmax(-1) @ v
        x = x + self.project(z.transpose(1, 2).reshape(b, t, D_MODEL))
        return x + self.down(self.act(self.up(self.ln_2(x))))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(VOCAB, D_MODEL), nn.Embedding(WINDOW, D_MODEL)
        self.blocks = nn.ModuleList(Block("sdpa") for _ in range(N_LAYERS))

    def forward(self, token_ids):
        x = self.tokens(token_ids) + self.positions.weight
        for block in self.blocks:
            x = block(x)
        return x


class Records:
    """The top windows and the moments of one hook point's neurons."""

    def __init__(self):
        self.count = 0
        self.sum, self.sum_squares = torch.zeros(D_MLP), torch.zeros(D_MLP)
        self.best = torch.full((D_MLP, TOP), float("-inf"))
        self.window = torch.full((D_MLP, TOP), -1)
        self.activations = torch.zeros(D_MLP, TOP, WINDOW)

    def add(self, post):
        """post: [batch, 64, 3072]."""
        b = post.shape[0]
        flat = post.view(-1, D_MLP)
        self.sum += flat.sum(0)
        self.sum_squares += torch.linalg.vector_norm(flat, dim=0).square()
        maxima = post.amax(1)  # [batch, 3072]
        changed = (maxima.amax(0) > self.best[:, -1]).nonzero()[:, 0]
        if len(changed):
            candidates = torch.cat([self.best[changed], maxima[:, changed].T], 1)
            best, source = candidates.topk(TOP, dim=1)  # sorted, so that the last column is the least
            windows = torch.arange(self.count, self.count + b).expand(len(changed), b)
            rows = torch.cat([self.activations[changed], post[:, :, changed].permute(2, 0, 1)], 1)
            self.best[changed] = best
            self.window[changed] = torch.cat([self.window[changed], windows], 1).gather(1, source)
            self.activations[changed] = rows.gather(1, source[:, :, None].expand(-1, -1, WINDOW))
        self.count += b


def tokens_per_s(model, batches):
    started = time.perf_counter()
    for token_ids in batches:
        model(token_ids)
    return sum(b.numel() for b in batches) / (time.perf_counter() - started)


def matmul_gflops(seconds=2.0):
    """The best of repeated 1024x768 by 768x3072 products."""
    a, b, best, end = torch.randn(1024, 768), torch.randn(768, 3072), float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - started)
    return 2 * 1024 * 768 * 3072 / best / 1e9


def check(model, token_ids):
    """The merged records must equal those of one sort over everything."""
    found, seen = Records(), []

    def keep(_module, _inputs, post):
        found.add(post)
        seen.append(post)

    hook = model.blocks[3].act.register_forward_hook(keep)
    for batch in token_ids.split(8):
        model(batch)
    hook.remove()
    post = torch.cat(seen)
    best = post.amax(1).T.topk(min(TOP, len(token_ids)), dim=1)
    n = best.values.shape[1]
    assert torch.equal(found.best[:, :n], best.values)
    assert torch.equal(found.activations[:, :n].amax(2), best.values)
    assert torch.allclose(found.sum / post[..., 0].numel(), post.mean((0, 1)), atol=1e-6)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--warm-batches", type=int, default=2)
    parser.add_argument("--check", action="store_true", help="also check the records against one sort")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    with torch.inference_mode():
        model = Model().eval()
        draw = [torch.randint(0, VOCAB, (args.batch, WINDOW)) for _ in range(args.warm_batches + args.batches)]
        warm, timed = draw[: args.warm_batches], draw[args.warm_batches :]
        if args.check:
            check(model, torch.cat(draw)[:40])
        gflops = matmul_gflops()
        speeds = {}
        for attention in ("sdpa", "eager"):
            for block in model.blocks:
                block.attention = attention
            tokens_per_s(model, draw[:1])
            speeds[attention] = tokens_per_s(model, timed)
        faster = max(speeds, key=speeds.get)
        for block in model.blocks:
            block.attention = faster
        records = [Records() for _ in range(N_LAYERS)]
        for block, record in zip(model.blocks, records):
            block.act.register_forward_hook(lambda _module, _inputs, post, record=record: record.add(post))
        tokens_per_s(model, warm)
        with_records = tokens_per_s(model, timed)
    print(json.dumps({
        "forward_tokens_per_s": round(speeds[faster], 1),
        "forward_and_records_tokens_per_s": round(with_records, 1),
        "matmul_1024x768x3072_gflops": round(gflops, 1),
        "attention": faster, "attention_tokens_per_s": {k: round(v, 1) for k, v in speeds.items()},
        "threads": args.threads, "batch": args.batch, "batches": args.batches, "window": WINDOW,
        "torch": torch.__version__, "cpu": torch.backends.cpu.get_cpu_capability(),
    }))


if __name__ == "__main__":
    main()
