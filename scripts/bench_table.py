#!/usr/bin/env python3
"""Turns what scripts/bench measured into Markdown: bench_table.py FOLDER NOTE. Medians over the rounds."""

import json
import pathlib
import re
import statistics
import sys

folder, note = pathlib.Path(sys.argv[1]), sys.argv[2]
SHAPE = "12x3072/64"
FLOPS_PER_TOKEN = 166.4e6  # benches/shapes.rs


def rates():
    """What criterion measured: elements or bytes per second, by name of the benchmark."""
    found = {}
    for path in folder.glob("rounds/*/criterion/**/new/estimates.json"):
        about = json.loads((path.parent / "benchmark.json").read_text())
        seconds = json.loads(path.read_text())["median"]["point_estimate"] / 1e9
        throughput = about["throughput"] or {}
        amount = next(iter(throughput.values()), 1)
        found.setdefault(about["full_id"], []).append((amount / seconds, seconds))
    return {name: tuple(map(statistics.median, zip(*values))) for name, values in found.items()}


def pytorch():
    path = folder / "pytorch"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    found = {}
    for threads in {row["threads"] for row in rows}:
        mine = [row for row in rows if row["threads"] == threads]
        keys = ["forward_tokens_per_s", "forward_and_records_tokens_per_s", "matmul_1024x768x3072_gflops"]
        found[threads] = {key: statistics.median(row[key] for row in mine) for key in keys}
    return found


def overheads():
    found = {}
    for line in (folder / "log").read_text().splitlines():
        match = re.match(r"overhead (\S+)/(\d): ([\d.]+) %", line)
        if match:
            found.setdefault((match[1], int(match[2])), []).append(float(match[3]))
    return {key: statistics.median(values) for key, values in found.items()}


def table(head, rows):
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def main():
    ours, theirs, share = rates(), pytorch(), overheads()
    missing = "n.m."
    number = lambda value, form="{:,.0f}": missing if value is None else form.format(value)
    rate = lambda name: ours.get(name, (None, None))[0]
    print(f"{note}\n")
    rows = []
    for threads in (1, 2):
        torch = theirs.get(threads, {})
        for label, mine, his in [
            ("forward", "gpt2_small", "forward_tokens_per_s"),
            ("forward + moments and top 20", "gpt2_small+top_windows", "forward_and_records_tokens_per_s"),
            ("forward + everything a run keeps", "gpt2_small+collection", None),
        ]:
            mine_rate = rate(f"forward/{mine}/{SHAPE}/{threads}")
            his_rate = torch.get(his) if his else None
            ratio = mine_rate / his_rate if mine_rate and his_rate else None
            added = share.get((mine, threads))
            rows.append([label, str(threads), number(mine_rate), number(his_rate) if his else "",
                         number(ratio, "{:.2f}") if his else "", number(added, "{:.1f} %") if "+" in mine else ""])
    table(["what", "threads", "ours, tokens/s", "PyTorch, tokens/s", "ratio", "added to the forward pass"], rows)
    rows = []
    for threads in (1, 2):
        forward = rate(f"forward/gpt2_small/{SHAPE}/{threads}")
        flops = forward * FLOPS_PER_TOKEN / 1e9 if forward else None
        peak = rate(f"gemm/crate/512x768x3072/{threads}")
        mkl = theirs.get(threads, {}).get("matmul_1024x768x3072_gflops")
        best = max(filter(None, [peak and peak / 1e9, mkl]), default=None)
        part = flops and best and 100 * flops / best
        # A peak below what the forward pass reaches is none: the crate was built without optimisation.
        part = "gemm-f32 is not optimised" if part and part > 100 else number(part, "{:.0f} %")
        rows.append([str(threads), number(flops), number(peak and peak / 1e9), number(mkl), part])
    table(["threads", "forward pass, GFLOP/s", "`gemm` crate, 512x768x3072", "PyTorch, 1024x768x3072", "share of the faster"], rows)
    rows = []
    for name, label in [("memory/sum_f32/10000x10x64x2/1", "sum of the same floats (floor)"),
                        ("scores/kernels/10000x10x64/1", "kernels, no intervals, 1 thread"),
                        ("scores/kernels+intervals/10000x10x64/1", "kernels, 1,000 draws, 1 thread"),
                        ("scores/sql/10000x10x64/2", "stage 60_scores over a lake, 3 sets of windows and controls, 2 threads")]:
        speed, seconds = ours.get(name, (None, None))
        rows.append([label, number(seconds, "{:.3f}"), number(speed and speed / 1e9, "{:.3f}")])
    table(["scores, 10,000 neurons x 10 windows x 64 tokens", "seconds", "GB/s of activations"], rows)
    observe = {k: v for k, v in ours.items() if k.startswith("collection/")}
    if observe:
        rows = [[k.split("/")[2].split("x")[0], k.rsplit("/", 1)[1], f"{1e9 / v[0]:.2f}"] for k, v in sorted(observe.items())]
        table(["windows a batch", "threads", "collection, ns per token and neuron"], rows)


main()
