#!/usr/bin/env python3
"""Checks that the Delta tables of a lake folder read alike in deltalake, DuckDB and Polars.

A table is a folder with a `_delta_log` in it, at any depth below the lake. For each table:
  deltalake  opens it; its active files are the truth for the others
  pyarrow    counts rows and list elements through deltalake's dataset
  duckdb     does so over that dataset, and reads the same Parquet files by itself (its own Delta reader is an extension
             that must be downloaded, so it is not used)
  polars     does so with scan_delta
Row counts, column names and, for every list column, the number of elements and of NULL lists must agree, and each list
column must be a list in every reader. Prints one line a table; exits 1 on a difference, 2 on wrong usage.
Use a lake path without spaces: this Polars does not find the files of such a partitioned table (the others do).

Run:  python scripts/check_delta.py LAKE        (pip install -r scripts/requirements-test.txt)
Made with deltalake 1.6.6, duckdb 2.0.0, polars 2.1.0, pyarrow 26.0.1.
"""

import sys
from pathlib import Path
from urllib.parse import unquote, urlparse

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable


def lists_in(schema):
    return [f.name for f in schema if pa.types.is_list(f.type) or pa.types.is_large_list(f.type)]


def by_pyarrow(dataset, lists):
    """(rows, {list column: (elements, NULL lists)})"""
    counts = {name: [0, 0] for name in lists}
    rows = 0
    for batch in dataset.to_batches():
        rows += batch.num_rows
        for name in lists:
            column = batch.column(name)
            counts[name][0] += pc.sum(pc.list_value_length(column)).as_py() or 0
            counts[name][1] += column.null_count
    return rows, {name: tuple(pair) for name, pair in counts.items()}


def by_duckdb(connection, source, lists):
    types = {row[0]: row[1] for row in connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
    for name in lists:
        if name not in types or not types[name].endswith("[]"):
            raise ValueError(f"expected a list column {name!r}, got {types.get(name)}")
    parts = ["count(*)"]
    for name in lists:
        quoted = '"' + name.replace('"', '""') + '"'
        parts += [f"coalesce(sum(len({quoted})), 0)", f"count(*) FILTER (WHERE {quoted} IS NULL)"]
    row = connection.execute(f"SELECT {', '.join(parts)} FROM {source}").fetchone()
    return int(row[0]), {n: (int(row[1 + 2 * i]), int(row[2 + 2 * i])) for i, n in enumerate(lists)}, set(types)


def by_polars(folder, lists):
    frame = pl.scan_delta(str(folder))
    schema = frame.collect_schema()
    for name in lists:
        if not isinstance(schema.get(name), pl.List):
            raise ValueError(f"expected a list column {name!r}, got {schema.get(name)}")
    parts = [pl.len().alias("n_rows")]
    for i, name in enumerate(lists):
        parts += [pl.col(name).list.len().sum().alias(f"{i}_elements"), pl.col(name).null_count().alias(f"{i}_nulls")]
    row = frame.select(parts).collect().row(0, named=True)
    counts = {n: (int(row[f"{i}_elements"] or 0), int(row[f"{i}_nulls"])) for i, n in enumerate(lists)}
    return int(row["n_rows"]), counts, set(schema.names())


def local_path(uri):
    """The path of an active file; deltalake gives it as a URI or as a path with percent signs, as it stands in the log."""
    path = urlparse(uri).path if uri.startswith("file:") else uri
    return path if Path(path).exists() else unquote(path)


def check(folder):
    """The faults of one table and the words for its line."""
    table = DeltaTable(str(folder))
    dataset = table.to_pyarrow_dataset()
    lists, names = lists_in(dataset.schema), set(dataset.schema.names)
    rows, counts = by_pyarrow(dataset, lists)
    answers = {}
    connection = duckdb.connect()
    connection.register("delta_table", dataset)
    found_rows, found, found_names = by_duckdb(connection, "delta_table", lists)
    answers["duckdb over arrow"] = (found_rows, found, found_names)
    files = [local_path(uri) for uri in table.file_uris()]
    partitions = table.metadata().partition_columns
    if files:
        quoted = ", ".join("'" + f.replace("'", "''") + "'" for f in files)
        source = f"read_parquet([{quoted}], hive_partitioning = {str(bool(partitions)).lower()}, union_by_name = true)"
        answers["duckdb over files"] = by_duckdb(connection, source, lists)
    answers["polars"] = by_polars(folder, lists)
    faults = []
    for reader, (found_rows, found, found_names) in answers.items():
        if found_rows != rows:
            faults.append(f"{reader}: expected {rows} rows, got {found_rows}")
        if found_names != names:
            faults.append(f"{reader}: expected columns {sorted(names)}, got {sorted(found_names)}")
        faults += [f"{reader}: expected {counts[n]} elements and NULLs in {n!r}, got {found[n]}"
                   for n in lists if found[n] != counts[n]]
    return faults, f"version {table.version()}, {len(files)} files, {rows} rows, {len(names)} columns, lists {lists}"


def main():
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        print("usage: check_delta.py LAKE (a folder with Delta tables in it)", file=sys.stderr)
        return 2
    lake = Path(sys.argv[1]).resolve()
    tables = sorted(log.parent for log in lake.rglob("_delta_log") if log.is_dir())
    if not tables:
        print(f"expected Delta tables below '{lake}', found none", file=sys.stderr)
        return 1
    failed = 0
    for folder in tables:
        name = folder.relative_to(lake)
        try:
            faults, words = check(folder)
        except Exception as error:  # any reader's refusal is what this script is to report
            faults, words = [f"{type(error).__name__}: {error}"], "could not be read"
        failed += bool(faults)
        print(f"{'FAIL' if faults else 'ok'} {name}: {words}" + "".join(f"\n  {fault}" for fault in faults))
    print(f"{len(tables) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
