#!/usr/bin/env python3
"""Loads what we export for SAELens with SAELens itself, and compares its codes with ours on 1,000 rows.

Autoencoders of every kind are trained a little on rows made here, exported, loaded with SAE.load_from_disk and run. A code
differs if one is 0 and the other is not, or by more than 1e-5 of the largest code of the row; two latents whose
pre-activations are within rounding of each other may change places, so differing rows are counted and at most 2 allowed.

Run:  python scripts/check_saelens.py         Needs cargo; prints one line a kind, exits 1 if one differs.
Checked with sae-lens 6.54.12, torch 2.15.0, safetensors 0.8.0.
"""

import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from sae_lens import SAE

ROWS, WIDTH, TRUTHS = 1000, 64, 256


def main():
    torch.manual_seed(0)
    truths = torch.nn.functional.normalize(torch.randn(TRUTHS, WIDTH), dim=-1)
    present = (torch.rand(ROWS, TRUTHS) < 8 / TRUTHS) * (0.5 + torch.rand(ROWS, TRUTHS))
    rows = present @ truths + 0.1
    print(" ".join(f"{name} {version(name)}" for name in ["sae-lens", "torch", "safetensors"]))
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        save_file({"rows": rows}, folder / "rows.safetensors")
        example = ["cargo", "run", "--quiet", "--release", "-p", "sparse_autoencoders", "--example", "encode", "--", str(folder)]
        subprocess.run(example, check=True)
        for path in sorted(folder.glob("*/cfg.json")):
            name = path.parent.name
            ours = load_file(folder / f"{name}.safetensors")
            sae = SAE.load_from_disk(path.parent, device="cpu")
            with torch.no_grad():
                codes = sae.encode(rows)
                codes = codes.to_dense() if codes.is_sparse else codes
                reconstructions = sae(rows)
            scale = codes.abs().max(-1, keepdim=True).values.clamp(min=1e-6)
            differing = (((codes - ours["codes"]).abs() > 1e-5 * scale) | ((codes == 0) != (ours["codes"] == 0))).any(-1)
            same = ~differing
            error = (reconstructions - ours["reconstructions"])[same].abs().max() / reconstructions.abs().max()
            l0 = (codes != 0).float().sum(-1).mean()
            good = differing.sum() <= 2 and error < 1e-5
            failed |= not good
            print(f"{name:20} {'equal' if good else 'DIFFERENT'}: {int(differing.sum())} of {ROWS} rows differ, reconstructions by {error:.1e}, L0 {l0:.1f}")
    sys.exit(1 if failed else 0)


main()
