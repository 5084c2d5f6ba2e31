"""Writes a lake of synthetic explanations, for measuring search: one explanation and one score a unit.

    python scripts/make_search_lake.py LAKE --rows 307200 --vocabulary MODELS/all-MiniLM-L6-v2/vocab.txt

Words are whole words of a BERT vocabulary, in its order of frequency, drawn with Zipf's law (exponent 1); every text begins
as explanations begin ("words related to", "references to", ...). Seeded: the same arguments give the same rows. Memory is
bounded: half a million rows at a time.
"""

import argparse
import hashlib
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import WriterProperties, write_deltalake

LAYERS = 48
CHUNK = 500_000
MODEL = "synthetic"
OPENINGS = [
    "words related to", "phrases about", "references to", "mentions of", "terms associated with", "the word",
    "names of", "concepts of", "tokens that follow", "words ending in", "instances of", "descriptions of",
    "parts of sentences about", "plural nouns such as", "verbs of", "numbers and dates in", "legal language about",
    "code that deals with", "sentences expressing", "proper nouns like",
]


def vocabulary(path: Path) -> pa.Array:
    words = [word for word in path.read_text(encoding="utf-8").splitlines() if word.isalpha() and word.isascii() and len(word) > 1]
    return pa.array(words)


def texts(n: int, words: pa.Array, rng: np.random.Generator) -> pa.Array:
    weights = np.cumsum(1.0 / np.arange(1, len(words) + 1))
    lengths = rng.integers(2, 18, n)
    drawn = np.searchsorted(weights, rng.random(int(lengths.sum())) * weights[-1])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    tails = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), words.take(pa.array(drawn))), " ")
    heads = pa.array(OPENINGS).take(pa.array(rng.integers(0, len(OPENINGS), n)))
    return pc.binary_join_element_wise(heads, tails, " ")


def keys(first: int, n: int) -> pa.Array:
    # Sixteen hexadecimal digits in no order, as hashes are: a bijection on 64 bits.
    mixed = np.arange(first, first + n, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return pa.array([f"{x:016x}" for x in mixed.tolist()])


def same(value, n: int, type_=pa.string()) -> pa.Array:
    return pa.array([value], type=type_).take(pa.array(np.zeros(n, dtype=np.int64)))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("lake", type=Path)
    parser.add_argument("--rows", type=int, default=307_200)
    parser.add_argument("--vocabulary", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    words = vocabulary(options.vocabulary)
    rng = np.random.default_rng(options.seed)
    run = hashlib.sha256(b"synthetic").hexdigest()[:16]
    writer = WriterProperties(compression="ZSTD", compression_level=1, max_row_group_size=1 << 17)
    now = datetime.now(timezone.utc)
    write_deltalake(str(options.lake / "runs"), pa.table({
        "run": [run], "stage": ["synthetic"], "model": [MODEL], "corpus": ["synthetic"], "parameters": ["{}"],
        "weights_hash": same(None, 1), "tokenizer_hash": same(None, 1), "corpus_hash": same(None, 1),
        "prompt_hash": same(None, 1), "code_version": ["0"], "seed": pa.array([options.seed], pa.int64()),
        "started_at": pa.array([now], pa.timestamp("us", "UTC")), "ended_at": pa.array([now], pa.timestamp("us", "UTC")),
        "n_rows": pa.array([options.rows], pa.int64()), "cost": pa.array([0.0]),
    }))
    a_layer = -(-options.rows // LAYERS)
    for first in range(0, options.rows, CHUNK):
        n = min(CHUNK, options.rows - first)
        numbers = np.arange(first, first + n)
        layers = (numbers // a_layer).astype(np.int32)
        unit = {
            "model": same(MODEL, n),
            "hook_point": pc.binary_join_element_wise("blocks.", pa.array(layers).cast(pa.string()), ".mlp.hook_post", ""),
            "layer": pa.array(layers),
            "neuron": pa.array((numbers % a_layer).astype(np.int32)),
            "corpus": same("synthetic", n),
            "explanation": keys(first, n),
        }
        explanations = pa.table({
            **unit, "explainer": same("token_activation", n), "explainer_model": same("synthetic", n),
            "sample_no": same(0, n, pa.int32()), "round": same(0, n, pa.int32()), "revised": same(None, n),
            "text": texts(n, words, rng), "reason": same(None, n), "completions": pa.nulls(n, pa.list_(pa.string())), "run": same(run, n),
        })
        value = np.clip(rng.normal(0.25, 0.2, n), -1.0, 1.0)
        scores = pa.table({
            **unit, "scorer": same("all_at_once", n), "scorer_model": same("synthetic", n), "calibration": same("none", n),
            "metric": same("ev_correlation", n), "sample_set": same("top_and_random", n), "split": same("valid", n),
            "value": pa.array(value), "control": pa.array(value / 4), "low": pa.array(value - 0.1),
            "high": pa.array(value + 0.1), "reason": same(None, n), "n_windows": same(10, n, pa.int32()),
            "n_tokens": same(640, n, pa.int64()), "n_failed": same(0, n, pa.int32()), "run": same(run, n),
        })
        for name, table in [("explanations", explanations), ("scores", scores)]:
            write_deltalake(str(options.lake / name), table, mode="append", partition_by=["model", "hook_point"],
                            writer_properties=writer)
        print(f"{first + n} of {options.rows}", flush=True)


if __name__ == "__main__":
    main()
