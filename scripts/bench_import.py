#!/usr/bin/env python3
"""Imports a dataset in OpenAI's layout with neuronlake and with orjson + pyarrow, in turn, and prints both.

    python scripts/make_openai_dataset.py /tmp/dataset --neurons 5000
    python scripts/bench_import.py /tmp/dataset --program target/release/neuronlake

Both make the same tables from the same files: windows stored once, records, statistics, related tokens and neurons, explanations, simulations
with a distribution of eleven numbers a token to 1/4096, scores of all windows and of each. The converter is one process, reads a file at a time, and
writes Parquet with zstd level 1 in parts of 1,000 neurons; it keeps no log of what it has done, and Python does
not look for cycles meanwhile. Needs orjson, numpy and pyarrow.
"""

import argparse
import gc
import hashlib
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time

MODEL = "gpt2-xl"
CORPUS = "webtext"
PART = 1_000


def convert(source, out):
    import numpy
    import orjson
    import pyarrow
    import pyarrow.parquet

    # Nothing here refers to itself: looking for cycles among millions of lists would nearly double the time.
    gc.disable()
    known = set()
    tables = {}

    def add(table, **cells):
        columns = tables.setdefault(table, {name: [] for name in cells})
        for name, cell in cells.items():
            columns[name].append(cell)

    float_list = pyarrow.list_(pyarrow.float32())
    types = {"activations": float_list, "expected": float_list, "distribution": float_list}

    def flush(part):
        for table, columns in tables.items():
            arrays = {name: pyarrow.array(column, types.get(name)) for name, column in columns.items()}
            folder = out / table
            folder.mkdir(parents=True, exist_ok=True)
            pyarrow.parquet.write_table(
                pyarrow.table(arrays), folder / f"{part}.parquet", compression="zstd", compression_level=1
            )
        tables.clear()

    def sequence(tokens):
        key = int.from_bytes(hashlib.sha256("\x00".join(tokens).encode()).digest()[:8], "big") >> 1
        if key not in known:
            known.add(key)
            add("token_sequences", model=MODEL, corpus=CORPUS, sequence=key, tokens=tokens)
        return key

    def load(kind, layer, neuron, ending="json"):
        with open(source / kind / layer / f"{neuron}.{ending}", "rb") as file:
            return orjson.loads(file.read())

    done = 0
    n_bytes = 0
    top_splits = ["train", "calibration", "valid", "test"]
    random_splits = ["calibration", "valid", "test"]
    for folder in sorted((source / "collated-activations").iterdir(), key=lambda path: int(path.name)):
        layer = folder.name
        for neuron in sorted(int(path.stem) for path in folder.iterdir()):
            unit = {
                "model": MODEL,
                "hook_point": f"blocks.{layer}.mlp.hook_post",
                "layer": int(layer),
                "neuron": neuron,
            }
            of_corpus = {**unit, "corpus": CORPUS}
            collated = load("collated-activations", layer, neuron)

            def record(sample, rank, split, record):
                activations = record["activations"]
                add(
                    "activation_records",
                    **of_corpus,
                    sample=sample,
                    rank=rank,
                    sequence=sequence(record["tokens"]),
                    split=split,
                    max_activation=max(activations),
                    activations=activations,
                )

            for index, one in enumerate(collated["most_positive_activation_records"]):
                record("top", index // 4, top_splits[index % 4], one)
            for index, one in enumerate(collated["random_sample"]):
                record("random", index // 3, random_splits[index % 3], one)
            for quantile, sample in enumerate(collated["random_sample_by_quantile"] or []):
                for rank, one in enumerate(sample):
                    record(f"quantile_{quantile}", rank, "test", one)
            moments = {name: collated[name] for name in ("mean", "variance", "skewness", "kurtosis")}
            add("neurons", **of_corpus, **moments, quantile_levels=collated["quantile_boundaries"])
            results = load("explanations", layer, neuron, "jsonl")
            for sample_no, scored in enumerate(results["scored_explanations"]):
                name = f"{MODEL}|{unit['hook_point']}|{neuron}|{CORPUS}|token_activation|openai:gpt-4|{sample_no}|0"
                explanation = hashlib.sha256(name.encode()).hexdigest()[:16]
                add("explanations", **of_corpus, explanation=explanation, sample_no=sample_no, text=scored["explanation"])
                simulation = scored["scored_simulation"]

                def score(sample_set, scores):
                    for metric in ("ev_correlation_score", "rsquared_score", "absolute_dev_explained_score"):
                        add(
                            "scores",
                            **of_corpus,
                            explanation=explanation,
                            metric=metric,
                            sample_set=sample_set,
                            value=scores[metric],
                        )

                score("top_and_random", simulation)
                for index, one in enumerate(simulation["scored_sequence_simulations"]):
                    sample, rank = ("top", index) if index < 5 else ("random", index - 5)
                    inner = one["simulation"]
                    distribution = numpy.zeros((len(inner["tokens"]), 11), numpy.float32)
                    lists = zip(inner["distribution_values"], inner["distribution_probabilities"])
                    for token, (values, probabilities) in enumerate(lists):
                        distribution[token, values] = probabilities
                    distribution = numpy.round(distribution * 4096) / 4096
                    add(
                        "simulations",
                        **of_corpus,
                        explanation=explanation,
                        scale=inner["activation_scale"],
                        sample=sample,
                        rank=rank,
                        split="valid",
                        sequence=sequence(inner["tokens"]),
                        expected=inner["expected_activations"],
                        distribution=distribution.ravel(),
                    )
                    score(f"{sample}_{rank}", one)
            related = load("related-neurons/weight-based", layer, neuron)
            for key, direction in (("c_fc", "upstream"), ("c_proj", "downstream")):
                for sign in ("positive", "negative") if related[key] else ():
                    pairs = zip(related[key][f"top_{sign}_neurons"], related[key][f"top_{sign}_weights"])
                    for rank, (other, weight) in enumerate(pairs):
                        other_layer, other_neuron = other.split("_")
                        add(
                            "neuron_links",
                            **unit,
                            direction=direction,
                            sign=sign,
                            rank=rank,
                            other_hook_point=f"blocks.{other_layer}.mlp.hook_post",
                            other_neuron=int(other_neuron),
                            weight=weight,
                        )
            means = load("related-tokens/activation-based", layer, neuron)
            for token, mean in zip(means["tokens"], means["average_activations"]):
                add("token_activations", **of_corpus, token=token, mean_activation=mean)
            effects = load("related-tokens/weight-based", layer, neuron)
            for direction in ("input", "output"):
                for sign in ("positive", "negative"):
                    one = effects[f"{direction}_{sign}"]
                    for rank, (token, strength) in enumerate(zip(one["tokens"], one["strengths"])):
                        add(
                            "token_effects",
                            **unit,
                            direction=direction,
                            sign=sign,
                            rank=rank,
                            token=token,
                            strength=strength,
                        )
            done += 1
            if done % PART == 0:
                flush(done)
    flush(done)


def size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measured(command):
    """Seconds, and the peak of resident memory in MiB, of a command."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"{command}: status {status}")
    return time.monotonic() - start, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dataset", type=pathlib.Path)
    parser.add_argument("--program", type=pathlib.Path, default=pathlib.Path("target/release/neuronlake"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--convert", type=pathlib.Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.convert:
        convert(arguments.dataset, arguments.convert)
        return
    n_neurons = sum(1 for _ in (arguments.dataset / "collated-activations").rglob("*.json"))
    n_bytes = size(arguments.dataset)
    print(f"{n_neurons} neurons, {n_bytes / 1e6:.0f} MB of JSON, {n_bytes / n_neurons:.0f} bytes a neuron; {os.cpu_count()} cores")
    best = {}
    for _ in range(arguments.rounds):
        for name in ("neuronlake", "orjson + pyarrow"):
            out = pathlib.Path(tempfile.mkdtemp())
            if name == "neuronlake":
                command = [arguments.program, "import", "openai", arguments.dataset, "--lake", out / "out", "--quiet"]
            else:
                command = [sys.executable, __file__, arguments.dataset, "--convert", out / "out"]
            seconds, peak, processor = measured([str(part) for part in command])
            best[name] = min(best.get(name, (9e9, 0, 0, 0)), (seconds, peak, processor, size(out)))
            shutil.rmtree(out)
    for name, (seconds, peak, processor, stored) in best.items():
        print(
            f"{name}: {seconds:.2f} s ({processor:.2f} s of processor), {n_neurons / seconds:.0f} neurons/s, {n_bytes / 1e6 / seconds:.0f} MB/s, "
            f"peak {peak:.0f} MiB, {stored / n_neurons:.0f} bytes a neuron on disk, 1/{n_bytes / stored:.1f} of the JSON; "
            f"307,200 neurons: {307_200 / n_neurons * seconds / 3600:.2f} h"
        )
    ours, theirs = best["neuronlake"][0], best["orjson + pyarrow"][0]
    print(f"neuronlake takes {theirs / ours:.1f} times less")


if __name__ == "__main__":
    main()
