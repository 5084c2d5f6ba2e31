#!/usr/bin/env python3
"""Prints what each column of a lake's tables takes on disk, and what is in it: bytes from Parquet footers, entropy from the values.

    python scripts/measure_columns.py LAKE --neurons 2000

The entropy is that of one value after another as if each were drawn by itself (order 0): what no codec that looks at single values gets below.
A codec that finds the same list twice does. Files that the table's log no longer names are counted as well. Needs numpy and pyarrow.
"""

import argparse
import collections
import pathlib

import numpy
import pyarrow.parquet


def entropy(values):
    """Bits a value."""
    counts = numpy.unique(values, return_counts=True)[1]
    shares = counts / counts.sum()
    return float(-(shares * numpy.log2(shares)).sum())


def leaf_values(files, column):
    """All values of a column, of its lists too, as one array."""
    parts = []
    for file in files:
        values = pyarrow.parquet.ParquetFile(file).read(columns=[column]).column(0).combine_chunks()
        while pyarrow.types.is_list(values.type):
            values = values.flatten()
        parts.append(values.drop_null().to_numpy(zero_copy_only=False))
    return numpy.concatenate(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("lake", type=pathlib.Path)
    parser.add_argument("--neurons", type=int, default=1, help="divide everything by so many")
    parser.add_argument("--least", type=float, default=10, help="columns under so many bytes a neuron are left out")
    arguments = parser.parse_args()
    total = 0
    for folder in sorted(path for path in arguments.lake.iterdir() if path.is_dir() and path.name[0] not in "._"):
        files = sorted(folder.rglob("*.parquet"))
        stored = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        total += stored
        columns = collections.defaultdict(lambda: [0, 0, set()])
        for file in files:
            metadata = pyarrow.parquet.ParquetFile(file).metadata
            for group in range(metadata.num_row_groups):
                for number in range(metadata.num_columns):
                    chunk = metadata.row_group(group).column(number)
                    column = columns[chunk.path_in_schema]
                    column[0] += chunk.total_compressed_size
                    column[1] += chunk.num_values
                    column[2] |= set(chunk.encodings) - {"RLE"}
        print(f"{folder.name}: {stored / arguments.neurons:.0f} bytes a neuron, log and footers included")
        for name, (size, n_values, encodings) in sorted(columns.items(), key=lambda item: -item[1][0]):
            if size / arguments.neurons < arguments.least:
                continue
            bits = entropy(leaf_values(files, name.split(".")[0]))
            print(
                f"  {name.split('.')[0]:20} {size / arguments.neurons:9.1f} bytes, {n_values / arguments.neurons:8.1f} values, "
                f"{8 * size / n_values:6.2f} bits a value (entropy {bits:5.2f}: {bits * n_values / 8 / arguments.neurons:9.1f} bytes)  "
                f"{', '.join(sorted(encodings))}"
            )
    print(f"all: {total / arguments.neurons:.0f} bytes a neuron")


if __name__ == "__main__":
    main()
