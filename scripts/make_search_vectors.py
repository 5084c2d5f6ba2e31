"""Gives every explanation of a synthetic lake a vector: real sentence vectors, each perturbed.

    python scripts/make_search_vectors.py LAKE --from SMALL_LAKE

SMALL_LAKE is a lake whose explanations were embedded by 'neuronlake index'. Each explanation of LAKE gets one of its vectors plus
Gaussian noise of a third of its length, divided by the new length, so neighbourhoods look like those of real vectors. Seeded.
"""

import argparse
import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable, WriterProperties, write_deltalake

NOISE = 1 / 3


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("lake", type=Path)
    parser.add_argument("--from", dest="source", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    real = pa.table(DeltaTable(str(options.source / "explanation_vectors")).to_pyarrow_table(columns=["encoder", "vector"]))
    encoder = real["encoder"][0].as_py()
    vectors = np.stack(real["vector"].to_numpy(zero_copy_only=False)).astype(np.float32)
    width = vectors.shape[1]
    rng = np.random.default_rng(options.seed)
    run = hashlib.sha256(b"synthetic").hexdigest()[:16]
    element = pa.field("element", pa.float32())
    writer = WriterProperties(compression="UNCOMPRESSED", max_row_group_size=1 << 15, default_column_properties=None)
    dataset = DeltaTable(str(options.lake / "explanations")).to_pyarrow_dataset()
    done = 0
    for batch in dataset.to_batches(columns=["explanation", "text"], batch_size=131_072):
        n = batch.num_rows
        if n == 0:
            continue
        floats = vectors[rng.integers(0, len(vectors), n)]
        floats = floats + rng.standard_normal((n, width), dtype=np.float32) * np.float32(NOISE / width**0.5)
        floats /= np.linalg.norm(floats, axis=1, keepdims=True)
        offsets = pa.array(np.arange(0, (n + 1) * width, width, dtype=np.int32))
        lists = pa.ListArray.from_arrays(offsets, pa.array(floats.ravel()), type=pa.list_(element))
        hashes = [hashlib.sha256(text.encode()).hexdigest()[:16] for text in batch["text"].to_pylist()]
        table = pa.table({"encoder": pa.array([encoder] * n), "explanation": batch["explanation"],
                          "text_hash": pa.array(hashes), "vector": lists, "run": pa.array([run] * n)})
        write_deltalake(str(options.lake / "explanation_vectors"), table, mode="append", partition_by=["encoder"],
                        writer_properties=writer)
        done += n
        if done % 1_000_000 < n:
            print(done, flush=True)
    print(done, flush=True)


if __name__ == "__main__":
    main()
