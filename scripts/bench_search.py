"""Searches over one lake: neuronlake, DuckDB (same Parquet files) and SQLite FTS5 (same texts) in one run.

    python scripts/bench_search.py LAKE --program target/release/neuronlake [--runs 30] [--semantic] [--no-sqlite] [--no-duckdb]

LAKE comes from scripts/make_search_lake.py, its vectors from scripts/make_search_vectors.py; run 'neuronlake index' first. Prints one
JSON line a query: median and 95th percentile in milliseconds, warm; a line of load averages before and after. neuronlake runs all
repetitions of a query as one 'sql' script in one process; a run lasts from the end of one result to the end of the next, as they
come out of the pipe.
"""

import argparse
import json
import os
import sqlite3
import subprocess
import tempfile
import time
from pathlib import Path

import duckdb

WORDS = "words OR about OR royal OR castles"
MENTIONS = r"(?i)(?:^|[^\p{L}\p{N}])plural(?:e?s|['’]s)?(?:[^\p{L}\p{N}]|$)"


def measure(engine: str, name: str, runs: int, query) -> None:
    rows = query()
    took = []
    for _ in range(runs):
        start = time.perf_counter()
        query()
        took.append((time.perf_counter() - start) * 1e3)
    took.sort()
    print(json.dumps({"engine": engine, "query": name, "rows": rows, "p50": took[runs // 2],
                      "p95": took[min(runs * 95 // 100, runs - 1)]}), flush=True)


def bound(program: str, name: str, condition: str) -> str:
    sql = subprocess.run([program, "query", "show", name], capture_output=True, text=True, check=True).stdout
    values = {"$words": "'words about royal castles'", "$encoder": "''", "$condition": f"({condition})", "$top": "20"}
    lines = [line for line in sql.splitlines() if not line.startswith("--")]
    text = "\n".join(lines)
    for placeholder, value in values.items():
        text = text.replace(placeholder, value)
    return text


def with_neuronlake(program: str, lake: Path, runs: int, semantic: bool) -> None:
    filtered = "layer >= 8 AND score > 0.5"
    joined = ("SELECT e.layer, e.neuron, s.value FROM explanations e JOIN scores s ON s.explanation = e.explanation "
              "WHERE mentions(e.text, 'plural') ORDER BY s.value DESC, e.explanation LIMIT 20")
    queries = {
        "mentions": "SELECT count(*) FROM explanations WHERE mentions(text, 'plural')",
        "mentions, index": "SELECT count(*) FROM searchable_explanations WHERE mentions(text, 'plural')",
        "regex": "SELECT count(*) FROM explanations WHERE text ~ 'plural\\b.*noun'",
        "regex, index": "SELECT count(*) FROM searchable_explanations WHERE text ~ 'plural\\b.*noun'",
        "join with scores": joined,
        "with score, index": "SELECT layer, neuron, score FROM searchable_explanations WHERE mentions(text, 'plural') "
                             "ORDER BY score DESC, explanation LIMIT 20",
        "group by layer": "SELECT e.layer, avg(s.value), count(*) FROM explanations e JOIN scores s ON s.explanation = e.explanation "
                          "GROUP BY e.layer",
        "group by layer, index": "SELECT layer, avg(score), count(*) FROM searchable_explanations GROUP BY layer",
        "bm25 top 20": bound(program, "keyword", "TRUE"),
        "bm25 top 20, filtered": bound(program, "keyword", filtered),
    }
    if semantic:
        for name in ["semantic", "hybrid"]:
            queries[f"{name} top 20"] = bound(program, name, "TRUE")
            queries[f"{name} top 20, filtered"] = bound(program, name, filtered)
    for name, sql in queries.items():
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
            script.write(f"{sql};\n" * (runs + 2))
            script.flush()
            command = [program, "sql", "--lake", str(lake), "--format", "json", "--file", script.name]
            process = subprocess.Popen(command, stdout=subprocess.PIPE)
            ends = []
            for line in process.stdout:
                ends.append(time.perf_counter())
                rows = len(json.loads(line))
            assert process.wait() == 0 and len(ends) == runs + 2, (name, len(ends))
        took = sorted((after - before) * 1e3 for before, after in zip(ends[1:], ends[2:]))
        print(json.dumps({"engine": "neuronlake", "query": name, "rows": rows, "p50": took[runs // 2],
                          "p95": took[min(runs * 95 // 100, runs - 1)]}), flush=True)


def with_duckdb(lake: Path, runs: int, threads: int) -> None:
    connection = duckdb.connect()
    connection.execute(f"SET threads = {threads}")
    explanations = f"read_parquet('{lake}/explanations/**/*.parquet', hive_partitioning = true)"
    scores = f"read_parquet('{lake}/scores/**/*.parquet', hive_partitioning = true)"
    escaped = MENTIONS.replace("'", "''")
    for name, sql in {
        "mentions": f"SELECT count(*) FROM {explanations} WHERE regexp_matches(text, '{escaped}')",
        "regex": f"SELECT count(*) FROM {explanations} WHERE regexp_matches(text, 'plural\\b.*noun')",
        "contains, for comparison": f"SELECT count(*) FROM {explanations} WHERE contains(text, 'plural')",
        "join with scores": f"SELECT e.layer, e.neuron, s.value FROM {explanations} e JOIN {scores} s USING (explanation) "
                            f"WHERE regexp_matches(e.text, '{escaped}') ORDER BY s.value DESC LIMIT 20",
        "group by layer": f"SELECT e.layer, avg(s.value), count(*) FROM {explanations} e JOIN {scores} s USING (explanation) GROUP BY e.layer",
    }.items():
        measure("duckdb", name, runs, lambda sql=sql: len(connection.execute(sql).fetchall()))


def with_sqlite(lake: Path, runs: int) -> None:
    texts = duckdb.sql(f"SELECT explanation, text FROM read_parquet('{lake}/explanations/**/*.parquet')").fetchall()
    scores = dict(duckdb.sql(f"SELECT explanation, value FROM read_parquet('{lake}/scores/**/*.parquet')").fetchall())
    layers = dict(duckdb.sql(f"SELECT explanation, layer FROM read_parquet('{lake}/explanations/**/*.parquet')").fetchall())
    with tempfile.TemporaryDirectory() as folder:
        connection = sqlite3.connect(str(Path(folder) / "fts.db"))
        start = time.perf_counter()
        connection.execute("CREATE VIRTUAL TABLE texts USING fts5(text, layer UNINDEXED, score UNINDEXED)")
        connection.executemany("INSERT INTO texts VALUES (?, ?, ?)", ((text, layers[key], scores[key]) for key, text in texts))
        connection.commit()
        print(json.dumps({"engine": "sqlite fts5", "query": "build", "seconds": time.perf_counter() - start}), flush=True)
        for name, sql in {
            "mentions": "SELECT count(*) FROM texts WHERE texts MATCH 'plural OR plurals OR plurales'",
            "bm25 top 20": f"SELECT rowid, bm25(texts) FROM texts WHERE texts MATCH '{WORDS}' ORDER BY rank LIMIT 20",
            "bm25 top 20, filtered": f"SELECT rowid, bm25(texts) FROM texts WHERE texts MATCH '{WORDS}' AND layer >= 8 AND score > 0.5 "
                                     "ORDER BY rank LIMIT 20",
        }.items():
            measure("sqlite fts5", name, runs, lambda sql=sql: len(connection.execute(sql).fetchall()))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("lake", type=Path)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--semantic", action="store_true")
    parser.add_argument("--no-sqlite", action="store_true")
    parser.add_argument("--no-duckdb", action="store_true")
    parser.add_argument("--program", required=True)
    options = parser.parse_args()
    print(json.dumps({"load": os.getloadavg(), "duckdb": duckdb.__version__, "sqlite": sqlite3.sqlite_version}), flush=True)
    with_neuronlake(options.program, options.lake, options.runs, options.semantic)
    if not options.no_duckdb:
        with_duckdb(options.lake, options.runs, os.cpu_count() or 1)
    if not options.no_sqlite:
        with_sqlite(options.lake, options.runs)
    print(json.dumps({"load": os.getloadavg()}), flush=True)


if __name__ == "__main__":
    main()
