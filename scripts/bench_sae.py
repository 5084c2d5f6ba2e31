#!/usr/bin/env python3
"""Encoding and a training step of a TopK autoencoder: ours beside PyTorch, in turn, on the same threads.

What is timed, at d=768, n=24,576, k=32, 2,048 rows, float32, Adam, decoder rows projected and renormalised:
  encode        x @ W_enc.t() and torch.topk; ours: the product in tiles, the choice within
  step, dense   automatic differentiation through dense codes
  step, sparse  a backward pass that gathers the decoder rows that fired and multiplies sparse matrices by dense ones
Both PyTorch steps use torch.optim.Adam(fused=True). Times are medians over rounds in which all take turns, on the clock and
of the processor; on a shared machine the second is the fairer one, and rates are of it.

Run:  python scripts/bench_sae.py [--threads 1] [--rounds 3]      Needs cargo and torch; prints a Markdown table.
Made with torch 2.15.0.
"""

import argparse
import json
import os
import statistics
import subprocess
import time

import torch


class SparseReconstruction(torch.autograd.Function):
    """x̂ = z W_dec + b, with gradients from the latents that fired alone."""

    @staticmethod
    def forward(context, x, w_enc, b_enc, w_dec, b_dec, k):
        given = x - b_dec
        values, latents = torch.topk(torch.addmm(b_enc, given, w_enc.t()), k, sorted=False)
        values = values.relu()
        offsets = torch.arange(0, latents.numel(), k)
        out = torch.nn.functional.embedding_bag(latents.flatten(), w_dec, offsets, mode="sum", per_sample_weights=values.flatten())
        context.save_for_backward(given, w_enc, w_dec, values, latents)
        return out + b_dec

    @staticmethod
    def backward(context, grad):
        given, w_enc, w_dec, values, latents = context.saved_tensors
        rows, k = latents.shape
        n = w_enc.shape[0]
        # Row by row in pieces, so that gathered rows stay small.
        dz = torch.cat([torch.bmm(w_dec[part], g.unsqueeze(-1)).squeeze(-1) for part, g in zip(latents.split(256), grad.split(256))])
        dz = dz * (values > 0)
        order = latents.flatten().argsort(stable=True)
        hits = torch.bincount(latents.flatten(), minlength=n)
        crow = torch.cat([torch.zeros(1, dtype=torch.int64), hits.cumsum(0)])
        columns = (order // k).to(torch.int64)

        def by_latent(weights, dense):
            return torch.sparse_csr_tensor(crow, columns, weights.flatten()[order], (n, rows)) @ dense

        db_enc = torch.zeros(n).index_add(0, latents.flatten(), dz.flatten())
        return None, by_latent(dz, given), db_enc, by_latent(values, grad), grad.sum(0) - db_enc @ w_enc, None


def processor_seconds(run):
    clock, start = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - clock, time.process_time() - start


class Step:
    def __init__(self, width, latents, k, rows, sparse):
        torch.manual_seed(0)
        self.x, self.k, self.sparse = torch.randn(rows, width), k, sparse
        w_dec = torch.nn.functional.normalize(torch.randn(latents, width), dim=-1)
        self.w_enc, self.w_dec = w_dec.clone().requires_grad_(), w_dec.requires_grad_()
        self.b_enc, self.b_dec = torch.zeros(latents, requires_grad=True), torch.zeros(width, requires_grad=True)
        self.adam = torch.optim.Adam([self.w_enc, self.w_dec, self.b_enc, self.b_dec], lr=1e-4, eps=6.25e-10, fused=True)
        self.scale = 1 / self.x.var(0).mean().item()

    def __call__(self):
        self.adam.zero_grad(set_to_none=True)
        if self.sparse:
            out = SparseReconstruction.apply(self.x, self.w_enc, self.b_enc, self.w_dec, self.b_dec, self.k)
        else:
            h = torch.addmm(self.b_enc, self.x - self.b_dec, self.w_enc.t())
            values, latents = torch.topk(h, self.k, sorted=False)
            out = torch.zeros_like(h).scatter(-1, latents, values.relu()) @ self.w_dec + self.b_dec
        (self.scale * ((out - self.x) ** 2).mean()).backward()
        with torch.no_grad():
            gradient, rows = self.w_dec.grad, self.w_dec
            gradient.addcmul_((gradient * rows).sum(-1, keepdim=True), rows, value=-1)
            self.adam.step()
            rows /= rows.norm(dim=-1, keepdim=True)

    @torch.no_grad()
    def encode(self):
        return torch.topk(torch.addmm(self.b_enc, self.x - self.b_dec, self.w_enc.t()), self.k, sorted=False)

    @torch.no_grad()
    def product(self):
        return self.x @ self.w_enc.t()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    for name, default in [("width", 768), ("latents", 24_576), ("k", 32), ("batch", 2_048)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    shape = ["width", "latents", "k", "batch", "threads"]
    ours = ["cargo", "bench", "--quiet", "-p", "sparse_autoencoders", "--bench", "sparse_autoencoders", "--", "--repetitions", "3"]
    ours += [word for name in shape for word in (f"--{name}", str(getattr(arguments, name)))]
    sizes = (arguments.width, arguments.latents, arguments.k, arguments.batch)
    times = {}

    def add(name, pair):
        times.setdefault(name, []).append(pair)

    load = os.getloadavg()[0]
    for _ in range(arguments.rounds):
        line = subprocess.run(ours, check=True, capture_output=True, text=True).stdout.strip().splitlines()[-1]
        for name, pair in json.loads(line).items():
            if name.endswith("_s"):
                add("ours " + name.removesuffix("_s"), pair)
        for sparse in [False, True]:
            step = Step(*sizes, sparse)
            step()
            kind = "sparse" if sparse else "dense"
            for _ in range(2):
                add(f"torch {kind}", processor_seconds(step))
            if sparse:
                step.encode()
                for _ in range(2):
                    add("torch encode", processor_seconds(step.encode))
                    add("torch product", processor_seconds(step.product))
            del step
    median = {name: [statistics.median(pair[at] for pair in pairs) for at in (0, 1)] for name, pairs in times.items()}
    rows, width, latents = arguments.batch, arguments.width, arguments.latents
    per_core = lambda name: rows / median[name][1]
    gflops = lambda name: 2 * rows * width * latents / median[name][1] / 1e9
    print(f"threads {arguments.threads}, load before {load:.1f}, after {os.getloadavg()[0]:.1f}, torch {torch.__version__}; rates per second of processor time\n")
    print("| what | clock s | processor s | rows/s | beside ours |\n|---|---|---|---|---|")
    for name, beside in [("ours product", None), ("torch product", "ours product"), ("ours encode", None), ("torch encode", "ours encode"),
                         ("ours decode", None), ("ours step", None), ("torch dense", "ours step"), ("torch sparse", "ours step")]:
        ratio = f"{median[name][1] / median[beside][1]:.2f}× as long" if beside else ""
        print(f"| {name} | {median[name][0]:.3f} | {median[name][1]:.3f} | {per_core(name):,.0f} | {ratio} |")
    print(f"\nproduct {gflops('ours product'):.0f} GFLOP/s, encode {gflops('ours encode'):.0f} GFLOP/s ({100 * gflops('ours encode') / gflops('ours product'):.0f} % of it)")


main()
