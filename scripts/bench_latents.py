#!/usr/bin/env python3
"""Measures what the lake does with activations and firings, and prints the tables of docs/performance.md as Markdown.

Run: scripts/bench_latents.py [--tokens 10000000] [--rows 200000] [--factor 10] [--folder DIR] [--only shuffle|firings]

  --tokens   tokens of table activations for 24,576 latents, 32 a token (10,000,000 takes about 3 GB of disk, and 7 GB more
             while it is sorted; 1,000,000 is enough to see the shape)
  --rows     rows of the store that is shuffled, 768 values of 2 bytes each, at once and `--factor` times as many
  --folder   where the data lie meanwhile: the disk that is measured [default: a temporary folder in the current one]

Everything is made by benches/latents.rs, without a model in front; each part runs in a process of its own, so that its peak memory is
its own. What the page cache holds is read from there, by the disk's own rate as by ours."""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run(binary, folder, what, **arguments):
    shutil.rmtree(folder, ignore_errors=True)
    flags = [text for name, value in arguments.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    # What a sort spills lies there too.
    environment = os.environ | {"TMPDIR": str(folder.parent.resolve())}
    command = [binary, "--what", what, "--folder", str(folder), *flags]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment)
    shutil.rmtree(folder, ignore_errors=True)
    return json.loads(done.stdout)


def built():
    """Builds the benchmark, and says where it is."""
    command = ["cargo", "bench", "--bench", "latents", "--no-run", "--message-format", "json"]
    lines = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout.decode().splitlines()
    messages = [json.loads(line) for line in lines if line.startswith("{")]
    return next(m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == "latents")


def mebibytes(count):
    return f"{count / 2**20:,.0f}"


def print_shuffle(found):
    print("| rows of 768 bf16 | MB | disk write | disk read | store | shuffle | read in order | memory allowed, MiB | peak, MiB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for one in found:
        rates = [one[f"{name}_mb_per_s"] for name in ("disk_write", "disk_read", "store", "shuffle", "scan")]
        memory = [mebibytes(one["memory_limit"]), mebibytes(one["peak_memory"])]
        cells = [f"{one['rows']:,}", f"{one['bytes'] / 1e6:,.0f}", *(f"{rate:,.0f}" for rate in rates), *memory]
        print("| " + " | ".join(cells) + " |")
    print("\nRates in MB of activations a second; a shuffle reads and writes every byte twice.\n")


def print_firings(found):
    print(f"{found['tokens']:,} tokens, {found['latents']:,} latents, {found['firings']:,} firings drawn by density k / (H (rank + 100)): "
          f"{found['bytes_per_firing']:.2f} bytes a firing; drawn, sorted and written in {found['write_s']:,.0f} s "
          f"({found['firings_per_s'] / 1e6:.2f} million a second), {found['spilled_bytes_per_firing']:.1f} bytes a firing spilled, "
          f"peak memory {mebibytes(found['peak_memory'])} MiB.\n")
    print("| latent | firings | top 20, ms | top 20 with their windows, ms | co-firing with all others, ms | latents it fires with |")
    print("|---|---|---|---|---|---|")
    for one in found["queries"]:
        together = "20 or more" if one["n_together"] == 20 else str(one["n_together"])
        print(f"| {one['what']} | {one['n_firings']:,} | {one['top_20_ms']:.1f} | {one['top_20_with_windows_ms']:.1f} | "
              f"{one['firing_together_ms']:.1f} | {together} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=10_000_000)
    parser.add_argument("--latents", type=int, default=24_576)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--factor", type=int, default=10)
    parser.add_argument("--memory-mib", type=int, default=256)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--only", choices=["shuffle", "firings"])
    arguments = parser.parse_args()
    binary = built()
    if arguments.folder:
        arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-latents-", dir=arguments.folder or ".") as folder:
        folder = Path(folder) / "data"
        if arguments.only != "firings":
            rows = [arguments.rows, arguments.rows * arguments.factor]
            print_shuffle([run(binary, folder, "shuffle", rows=n, memory_mib=arguments.memory_mib) for n in rows])
        if arguments.only != "shuffle":
            print_firings(run(binary, folder, "firings", tokens=arguments.tokens, latents=arguments.latents))
    print(f"\n{os.cpu_count()} cores, load {' '.join(f'{load:.1f}' for load in os.getloadavg())}")


if __name__ == "__main__":
    main()
