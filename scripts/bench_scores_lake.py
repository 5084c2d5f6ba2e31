"""Regenerates all scores of a synthetic lake, and the same numbers with numpy and pandas, in one run.

    python scripts/bench_scores_lake.py FOLDER --neurons 307200 --program target/release/neuronlake [--rounds 3] [--python-neurons 400]

FOLDER is made by scripts/make_scores_lake.py where it is not there. neuronlake runs `pipeline run --only scores --full`: it reads ten windows a
neuron with the simulations of the neuron and of its control, writes four metrics of three sets of windows with control and interval (1,000
draws) each, and takes the old rows away. Prints JSON lines: wall and processor seconds, GB/s of activations read, peak memory, rows.

The same numbers in Python, over the first neurons of the first layer, in two ways that a competent user might choose:

  tokens   a set of windows at a time: the drawn windows' tokens are gathered, [draws, windows, tokens], and every metric is an array
           operation over them; simple, and any metric works
  sums     all neurons together: every metric rewritten in sums of a window, drawn by one matrix product of [draws, windows] counts;
           needs the algebra, and an array of all draws of all neurons

Both take their draws from the same hash as neuronlake, so that values and intervals must agree (relative 1e-6: the sums about zero lose digits that
sums about the mean keep). Reading and joining with pandas is timed by itself over one layer. Times of other sizes are linear extrapolations
and say so. Python runs on one thread but for numpy's matrix products.
"""

import argparse
import json
import os
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
from deltalake import DeltaTable

from make_scores_lake import RANKS, SAMPLES, WINDOW, make

DRAWS, SEED = 1000, 0
METRICS = ["ev_correlation", "explained_variance", "rsquared_uncentred", "absolute_dev_explained"]
SETS = {"top_and_random": ("top", "random"), "random_only": ("random",), "top_only": ("top",)}
TOLERANCE = 1e-6


def say(**fields) -> None:
    print(json.dumps({**fields, "load": os.getloadavg()[0]}), flush=True)


def with_neuronlake(folder: Path, program: str, neurons: int) -> float:
    start = time.perf_counter()
    command = [program, "--quiet", "pipeline", "run", "pipeline.toml", "--only", "scores", "--full"]
    process = subprocess.Popen(command, cwd=folder)
    # Of this process alone, and not of those before it.
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, process.returncode
    n_bytes = 3 * 4 * neurons * len(SAMPLES) * RANKS * WINDOW
    say(what="neuronlake", neurons=neurons, seconds=seconds, processor_seconds=usage.ru_utime + usage.ru_stime,
        gigabytes_per_second=n_bytes / seconds / 1e9, peak_megabytes=usage.ru_maxrss / 1e3, neurons_per_second=neurons / seconds)
    return seconds


def finalise(x: np.ndarray) -> np.ndarray:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def drawn(n: int) -> np.ndarray:
    """The windows of every draw, [draws, n]: the program's own, SplitMix64 of seed, draw and place, brought below n by multiplication."""
    draws, places = np.arange(DRAWS, dtype=np.uint64)[:, None], np.arange(n, dtype=np.uint64)[None]
    bits = finalise(finalise(np.uint64(SEED) ^ finalise(draws)) ^ places)
    low, high = bits & np.uint64(0xFFFFFFFF), bits >> np.uint64(32)
    return ((high * np.uint64(n) + ((low * np.uint64(n)) >> np.uint64(32))) >> np.uint64(32)).astype(np.intp)


def in_order(actual: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """The windows' places in the order in which the program draws from them: by their means."""
    return np.lexsort((expected.mean(axis=-1), actual.mean(axis=-1)))


def metrics_of_tokens(a: np.ndarray, e: np.ndarray) -> np.ndarray:
    """The four metrics over the last axis."""
    da, de = a - a.mean(axis=-1, keepdims=True), e - e.mean(axis=-1, keepdims=True)
    rho = (da * de).sum(axis=-1) / np.sqrt((da * da).sum(axis=-1) * (de * de).sum(axis=-1))
    uncentred = 1 - ((a - e) ** 2).sum(axis=-1) / (a * a).sum(axis=-1)
    return np.stack([rho, rho**2, uncentred, 1 - np.abs(a - e).sum(axis=-1) / np.abs(a).sum(axis=-1)])


def by_tokens(windows: pd.DataFrame) -> pd.DataFrame:
    rows, choices = [], {n: drawn(n) for n in (RANKS, len(SAMPLES) * RANKS)}
    for neuron, of_neuron in windows.groupby("neuron"):
        for name, samples in SETS.items():
            some = of_neuron[of_neuron["sample"].isin(samples)]
            a, e, c = (np.stack(some[column]).astype(np.float64) for column in ["activations", "expected", "control"])
            order = in_order(a, e)
            a, e, c = a[order], e[order], c[order]
            value, control = metrics_of_tokens(a.ravel(), e.ravel()), metrics_of_tokens(a.ravel(), c.ravel())
            choice = choices[len(a)]
            draws = metrics_of_tokens(a[choice].reshape(DRAWS, -1), e[choice].reshape(DRAWS, -1))
            low, high = np.quantile(draws, [0.025, 0.975], axis=1)
            rows += [(neuron, name, metric, *of) for metric, *of in zip(METRICS, value, control, low, high)]
    return pd.DataFrame(rows, columns=["neuron", "sample_set", "metric", "value", "control", "low", "high"])


def sums_of(a: np.ndarray, e: np.ndarray) -> np.ndarray:
    """Nine sums over the last axis."""
    d = a - e
    terms = [np.ones_like(a), a, e, a * a, e * e, a * e, d * d, np.abs(d), np.abs(a)]
    return np.stack([term.sum(axis=-1) for term in terms], axis=-1)


def metrics_of_sums(sums: np.ndarray) -> np.ndarray:
    n, a, e, aa, ee, ae, dd, absolute, size = np.moveaxis(sums, -1, 0)
    rho = (ae - a * e / n) / np.sqrt((aa - a * a / n) * (ee - e * e / n))
    return np.stack([rho, rho**2, 1 - dd / aa, 1 - absolute / size])


def by_sums(windows: pd.DataFrame) -> pd.DataFrame:
    frames = []
    for name, samples in SETS.items():
        some = windows[windows["sample"].isin(samples)].sort_values(["neuron", "sample", "rank"])
        neurons, n = some["neuron"].unique(), len(samples) * RANKS
        a, e, c = (np.stack(some[column]).astype(np.float64).reshape(len(neurons), n, WINDOW) for column in ["activations", "expected", "control"])
        order = np.stack([in_order(*of) for of in zip(a, e)])
        sums, of_control = np.take_along_axis(sums_of(a, e), order[..., None], axis=1), sums_of(a, c)
        counts = np.zeros((DRAWS, n))
        np.add.at(counts, (np.arange(DRAWS)[:, None], drawn(n)), 1)
        draws = metrics_of_sums(counts @ sums)
        low, high = np.quantile(draws, [0.025, 0.975], axis=2)
        value, control = metrics_of_sums(sums.sum(axis=1)), metrics_of_sums(of_control.sum(axis=1))
        for k, metric in enumerate(METRICS):
            frames.append(pd.DataFrame({"neuron": neurons, "sample_set": name, "metric": metric, "value": value[k],
                                        "control": control[k], "low": low[k], "high": high[k]}))
    return pd.concat(frames, ignore_index=True)


def read(folder: Path) -> pd.DataFrame:
    """The windows of the first layer with both simulations, joined."""
    layer = [("hook_point", "=", "blocks.0.mlp.hook_post")]
    keys = ["neuron", "sequence", "sample", "rank"]
    records = DeltaTable(folder / "lake" / "activation_records").to_pandas(partitions=layer, columns=[*keys, "split", "activations"])
    simulations = DeltaTable(folder / "lake" / "simulations").to_pandas(partitions=layer, columns=[*keys, "split", "control", "expected"])
    records, simulations = (table[table["split"] == "valid"].drop(columns="split") for table in (records, simulations))
    own = simulations[~simulations["control"]].drop(columns="control")
    control = simulations[simulations["control"]].drop(columns="control").rename(columns={"expected": "control"})
    return records.merge(own, on=keys).merge(control, on=keys)


def compare(folder: Path, got: pd.DataFrame, method: str) -> None:
    layer = [("hook_point", "=", "blocks.0.mlp.hook_post")]
    scores = DeltaTable(folder / "lake" / "scores").to_pandas(
        partitions=layer, columns=["neuron", "sample_set", "metric", "value", "control", "low", "high"])
    both = got.merge(scores, on=["neuron", "sample_set", "metric"], suffixes=("", "_lake"))
    assert len(both) == len(got) > 0, (len(both), len(got))
    largest = {}
    for column in ["value", "control", "low", "high"]:
        python, lake = both[column].to_numpy(), both[f"{column}_lake"].to_numpy(np.float64)
        assert not np.isnan(lake).any(), f"{column}: NULL where Python has a number"
        largest[column] = float(np.max(np.abs(python - lake) / np.maximum(np.abs(lake), 1)))
    say(what="agreement", method=method, numbers=4 * len(both), tolerance=TOLERANCE, largest_difference=largest)
    assert max(largest.values()) <= TOLERANCE, largest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--neurons", type=int, default=307_200)
    parser.add_argument("--program", default="target/release/neuronlake")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--python-neurons", type=int, default=400)
    options = parser.parse_args()
    program = str(Path(options.program).absolute())
    if not (options.folder / "lake").exists():
        make(options.folder, options.neurons, program, 0)
    ours = sorted(with_neuronlake(options.folder, program, options.neurons) for _ in range(options.rounds))[options.rounds // 2]
    start = time.perf_counter()
    windows = read(options.folder)
    of_layer = windows["neuron"].nunique()
    reading = (time.perf_counter() - start) * options.neurons / of_layer
    say(what="pandas, read and join", neurons_measured=of_layer, seconds_extrapolated=reading)
    some = windows[windows["neuron"] < options.python_neurons]
    measured = some["neuron"].nunique()
    for method, compute in [("tokens", by_tokens), ("sums", by_sums)]:
        start = time.perf_counter()
        got = compute(some)
        seconds = (time.perf_counter() - start) * options.neurons / measured
        compare(options.folder, got, method)
        say(what=f"numpy, {method}", neurons_measured=measured, neurons=options.neurons, seconds_extrapolated=seconds,
            with_reading=seconds + reading, times_neuronlake=(seconds + reading) / ours)


if __name__ == "__main__":
    main()
