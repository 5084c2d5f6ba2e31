#!/usr/bin/env python3
"""Compares loss and every gradient of the hand-written training step with PyTorch's automatic differentiation.

For every method, shapes and weights are drawn at random; both sides compute in float32. The error of an array is the norm
of the difference over the norm of PyTorch's array; the largest of all cases is printed and must be below 1e-5. Gradients
of decoder rows are compared as PyTorch computes them, before the projection.

The losses are written here after their papers, independently of our code:
  TopK, MultiTopK   arXiv 2406.04093        BatchTopK  arXiv 2412.06410      Matryoshka  arXiv 2503.17547
  JumpReLU          arXiv 2407.14435        Gated      arXiv 2404.16014      ReLU        transformer-circuits.pub, April 2024

Run:  python scripts/check_sae_gradients.py [--cases 6]        Needs cargo, torch and safetensors.
Checked with torch 2.15.0, safetensors 0.8.0 on the CPU.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

TOLERANCE = 1e-5


class Jump(torch.autograd.Function):
    """z = h where h > threshold; the threshold's gradient is estimated in a window around it."""

    @staticmethod
    def forward(context, h, threshold, bandwidth):
        context.save_for_backward(h, threshold)
        context.bandwidth = bandwidth
        return h * (h > threshold)

    @staticmethod
    def backward(context, grad):
        h, threshold = context.saved_tensors
        near = ((h - threshold) / context.bandwidth).abs() < 0.5
        return grad * (h > threshold), -(threshold / context.bandwidth * near * grad).sum(0), None


class Step(torch.autograd.Function):
    """1 where h > threshold, with a gradient for the threshold alone."""

    @staticmethod
    def forward(context, h, threshold, bandwidth):
        context.save_for_backward(h, threshold)
        context.bandwidth = bandwidth
        return (h > threshold).float()

    @staticmethod
    def backward(context, grad):
        h, threshold = context.saved_tensors
        near = ((h - threshold) / context.bandwidth).abs() < 0.5
        return None, -(near * grad).sum(0) / context.bandwidth, None


def keep_largest(h, k):
    values, latents = h.topk(k, dim=-1)
    return torch.zeros_like(h).scatter(-1, latents, values).relu()


def keep_largest_of_batch(h, k):
    flat = h.relu().flatten()
    values, places = flat.topk(k * h.shape[0])
    return torch.zeros_like(flat).scatter(0, places, values).view_as(h)


def loss_of(config, weights, x, y, dead):
    method = config["method"]
    kind = method["method"]
    w_enc, b_enc, w_dec, b_dec = (weights[name] for name in ["W_enc", "b_enc", "W_dec", "b_dec"])
    given = x - b_dec if config["decoder_bias"] == "subtracted" else x
    h = given @ w_enc.t() + b_enc
    variance = ((y - y.mean(0)) ** 2).mean()
    nmse = lambda reconstruction: ((reconstruction - y) ** 2).mean() / variance
    squared = lambda reconstruction: ((reconstruction - y) ** 2).sum(-1).mean()
    fires = None
    if kind in ["top_k", "multi_top_k"]:
        z = keep_largest(h, method["k"])
        loss = nmse(z @ w_dec + b_dec)
        if kind == "multi_top_k":
            loss = loss + method["weight"] * nmse(keep_largest(h, method["k"] * method["factor"]) @ w_dec + b_dec)
    elif kind == "batch_top_k":
        z = keep_largest_of_batch(h, method["k"])
        loss = nmse(z @ w_dec + b_dec)
    elif kind == "matryoshka":
        z = keep_largest_of_batch(h, method["k"])
        loss = sum(nmse(z[:, :end] @ w_dec[:end] + b_dec) for end in method["prefixes"])
    elif kind == "relu":
        z = h.relu()
        return squared(z @ w_dec + b_dec) + method["l1"] * (z * w_dec.norm(dim=-1)).sum(-1).mean()
    elif kind == "jump_relu":
        z = Jump.apply(h, weights["thresholds"], method["bandwidth"])
        return squared(z @ w_dec + b_dec) + method["l0"] * Step.apply(h, weights["thresholds"], method["bandwidth"]).sum(-1).mean()
    elif kind == "gated":
        product = given @ w_enc.t()
        gate = product + b_enc
        magnitude = weights["r_mag"].exp() * product + weights["b_mag"]
        z = (gate > 0).float() * magnitude.relu()
        own = gate.relu() @ w_dec.detach() + b_dec.detach()
        return squared(z @ w_dec + b_dec) + method["l1"] * gate.relu().sum(-1).mean() + squared(own)
    # What the others leave, from latents that were dead and do not fire in this batch.
    auxiliary = config["auxiliary"]
    if auxiliary is not None and dead.any():
        fires = (z.detach() > config["fires_above"]).any(0)
        left = (y - (z @ w_dec + b_dec)).detach()
        chosen = keep_largest(torch.where(dead, h, torch.zeros_like(h)), auxiliary["k"])
        chosen = torch.where(fires, torch.zeros_like(chosen), chosen)
        if (chosen > 0).any():
            error = ((chosen @ w_dec - left) ** 2).mean() / ((left - left.mean(0)) ** 2).mean()
            loss = loss + auxiliary["coefficient"] * error
    return loss


def methods(n):
    k = random.randint(1, max(1, n // 6))
    return [
        {"method": "top_k", "k": k},
        {"method": "multi_top_k", "k": k, "factor": 4, "weight": 0.125},
        {"method": "batch_top_k", "k": k},
        {"method": "matryoshka", "k": k, "prefixes": [n // 4, n // 2, n]},
        {"method": "relu", "l1": 0.3},
        {"method": "gated", "l1": 0.3},
        {"method": "jump_relu", "l0": 0.3, "bandwidth": 0.4, "initial_threshold": 0.1},
    ]


def case(config, folder):
    n, d, out, rows = config["n_latents"], config["n_inputs"], config["n_outputs"], config["batch_rows"]
    weights = {
        "W_enc": torch.randn(n, d) / d**0.5,
        "b_enc": 0.2 * torch.randn(n),
        "W_dec": torch.randn(n, out) / out**0.5,
        "b_dec": 0.3 * torch.randn(out),
    }
    kind = config["method"]["method"]
    if kind == "jump_relu":
        weights["thresholds"] = 0.2 + 0.5 * torch.rand(n)
    if kind == "gated":
        weights |= {"r_mag": 0.3 * torch.randn(n), "b_mag": 0.2 * torch.randn(n)}
    x = torch.randn(rows, d)
    y = x if out == d else torch.randn(rows, out)
    dead = torch.rand(n) < 0.4 if config["auxiliary"] else torch.zeros(n, dtype=torch.bool)
    tensors = {**weights, "inputs": x, "rows_since_fired": dead.float() * 20_000_000}
    if out != d:
        tensors["targets"] = y
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "case.safetensors")
    (folder / "case.json").write_text(json.dumps(config))
    parameters = {name: tensor.clone().requires_grad_() for name, tensor in weights.items()}
    loss = loss_of(config, parameters, x, y, dead)
    loss.backward()
    return loss.item(), {name: parameter.grad for name, parameter in parameters.items()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=6)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    random.seed(0)
    worst, failed = {}, False
    build = ["cargo", "build", "--quiet", "--release", "-p", "sparse_autoencoders", "--example", "step"]
    subprocess.run(build, check=True)
    run = ["cargo", "run", *build[2:], "--"]
    for _ in range(arguments.cases):
        n, d, rows = random.randint(24, 900), random.randint(3, 200), random.randint(2, 300)
        for method in methods(n):
            kind = method["method"]
            penalised = kind in ["relu", "gated", "jump_relu"]
            transcodes = random.random() < 0.3
            config = {
                "method": method, "n_inputs": d, "n_outputs": d + 3 if transcodes else d, "n_latents": n, "batch_rows": rows, "n_steps": 10, "seed": 0,
                "input_normalization": {"kind": "none"},
                "decoder_bias": "not_subtracted" if transcodes or kind == "jump_relu" else "subtracted",
                "decoder_norm": "free",
                "adam": {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "clip_norm": None},
                "warm_up_steps": 0, "decay_steps": 0, "penalty_warm_up_steps": 0,
                "auxiliary": None if penalised else {"k": max(1, n // 8), "coefficient": 1 / 32},
                "dead_after_rows": 10_000_000, "fires_above": 1e-3,
            }
            with tempfile.TemporaryDirectory() as folder:
                folder = Path(folder)
                loss, expected = case(config, folder)
                subprocess.run([*run, str(folder)], check=True)
                got = load_file(folder / "gradients.safetensors")
                errors = {"loss": abs(float((folder / "loss.txt").read_text()) - loss) / abs(loss)}
                for name, gradient in expected.items():
                    difference = got[name].view_as(gradient) - gradient
                    norm = gradient.norm().item()
                    errors[name] = difference.norm().item() / norm if norm > 0 else difference.norm().item()
            for name, error in errors.items():
                worst[kind, name] = max(worst.get((kind, name), 0.0), error)
                if not error < TOLERANCE:
                    failed = True
                    print(f"{kind} {name}: {error:.1e} at n {n}, d {d}, rows {rows}, method {method}", file=sys.stderr)
    kinds = sorted({kind for kind, _ in worst})
    names = ["loss", "W_enc", "b_enc", "W_dec", "b_dec", "thresholds", "r_mag", "b_mag"]
    print("| method | " + " | ".join(names) + " |\n|---" * 1 + "|---" * len(names) + "|")
    for kind in kinds:
        print(f"| {kind} | " + " | ".join(f"{worst[kind, name]:.0e}" if (kind, name) in worst else "" for name in names) + " |")
    sys.exit(1 if failed else 0)


main()
