#!/usr/bin/env python3
"""Checks that tables of a lake in a bucket read alike in deltalake, DuckDB and Polars, without neuronlake.

Credentials and endpoint come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL,
AWS_ALLOW_HTTP). deltalake gives the files and an Arrow dataset, over which DuckDB counts rows (its own S3 reader is an extension that
must be downloaded, so it is not used); Polars reads the table by itself. Prints one line a table; exits 1 on a difference.

Run:  python scripts/check_delta_s3.py s3://BUCKET/PREFIX TABLE...        (pip install -r scripts/requirements-test.txt)
Made with deltalake 1.6.6, duckdb 2.0.0, polars 2.1.0, pyarrow 26.0.1.
"""

import os
import sys

import duckdb
import polars as pl
import pyarrow as pa
from deltalake import DeltaTable


def main():
    if len(sys.argv) < 3:
        print("usage: check_delta_s3.py s3://BUCKET/PREFIX TABLE...", file=sys.stderr)
        return 2
    lake, tables = sys.argv[1].rstrip("/"), sys.argv[2:]
    options = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    failed = 0
    for name in tables:
        table = DeltaTable(f"{lake}/{name}", storage_options=options)
        connection = duckdb.connect()
        connection.register("delta_table", table.to_pyarrow_dataset())
        n_duckdb = connection.execute("SELECT count(*) FROM delta_table").fetchone()[0]
        n_polars = pl.scan_delta(f"{lake}/{name}", storage_options=options).select(pl.len()).collect().item()
        n_log = sum(action["num_records"] for action in pa.table(table.get_add_actions(flatten=True)).to_pylist())
        same = n_duckdb == n_polars == n_log
        failed += not same
        words = f"{n_log} rows" if same else f"log {n_log}, duckdb {n_duckdb}, polars {n_polars} rows"
        print(f"{'ok' if same else 'FAIL'} {name}: {words}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
