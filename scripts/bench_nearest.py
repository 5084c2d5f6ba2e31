#!/usr/bin/env python3
"""The nearest twenty by meaning: neuronlake's index beside approximate indexes of others, over the same vectors.

    python scripts/make_search_lake.py LAKE --rows 307200 --vocabulary MODELS/all-MiniLM-L6-v2/vocab.txt
    python scripts/bench_nearest.py LAKE --from SMALL_LAKE --program target/release/neuronlake [--usearch] [--hnswlib]

Vectors are made by seed, as scripts/make_search_vectors.py makes them: real sentence vectors of SMALL_LAKE (which 'neuronlake index' embedded), each
perturbed. They are written straight into the form that the index of LAKE has, a segment at a time, and never as a table: 384 bytes of products,
192 of what they leave, 48 of signs and 8 of scales a row, and 1,536 of floats as long as the index compares exactly (4 million rows). So ten million take 6.3 GB beside
the texts (2.7 GB). The queries are vectors of rows, perturbed once more; a server in this script hands them out as embeddings, so that
what is measured is 'SELECT ... FROM semantic_matches(...)', and hybrid.sql, as users ask them. Recall at 20 is against brute force over the vectors
made again from the seed. Others get the same vectors and queries, one thread a query; their sizes and times to build are told.
Needs numpy, pyarrow, deltalake; usearch, hnswlib where asked for. Prints a JSON line a result.
"""

import argparse
import json
import os
import resource
import subprocess
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

ENCODER = "openai:synthetic"
EXACT_ROWS = 4_000_000
NOISE = 1 / 3
TOP = 20


class Vectors:
    """Vectors of rows, made anew from the seed whenever they are asked for, a segment at a time."""

    def __init__(self, real: np.ndarray, seed: int):
        self.real = real
        self.width = real.shape[1]
        self.seed = seed

    def segment(self, number: int, rows: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, number])
        return perturbed(self.real[rng.integers(0, len(self.real), rows)], rng)


def perturbed(vectors: np.ndarray, rng) -> np.ndarray:
    made = vectors + rng.standard_normal(vectors.shape, dtype=np.float32) * np.float32(NOISE / vectors.shape[1] ** 0.5)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def write_segment(folder: Path, number: int, vectors: np.ndarray, floats: bool) -> None:
    """The files of src/search/vectors.rs: bytes = round(x / scale) with scale = max |x| / 127, their error, what they leave in 4 bits, signs in words of 64."""
    scales = (np.abs(vectors).max(axis=1) / np.float32(127)).astype(np.float32)
    quantised = np.clip(np.round(vectors / scales[:, None]), -127, 127).astype(np.int8)
    levels = np.clip(np.round((vectors / scales[:, None] - quantised + 0.5) * 15), 0, 15).astype(np.uint8)
    rests = levels[:, ::2] | levels[:, 1::2] << 4
    errors = np.linalg.norm(vectors - quantised * scales[:, None], axis=1).astype(np.float32)
    bits = np.zeros((len(vectors), -(-vectors.shape[1] // 64) * 64), np.uint8)
    bits[:, : vectors.shape[1]] = vectors > 0
    signs = np.packbits(bits, axis=1, bitorder="little")
    for ending, values in [("bytes", quantised), ("rests", rests), ("scales", scales), ("errors", errors), ("signs", signs)]:
        values.tofile(folder / f"vectors-{number}.{ending}")
    if floats:
        vectors.tofile(folder / f"vectors-{number}.floats")


class Embeddings(BaseHTTPRequestHandler):
    """Hands out the vector that a text 'query 17' stands for."""

    queries: np.ndarray

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        data = [{"index": i, "embedding": self.queries[int(text.rsplit(" ", 1)[1])].tolist()} for i, text in enumerate(asked["input"])]
        answer = json.dumps({"data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def told(**result) -> None:
    print(json.dumps(result), flush=True)


def percentiles(seconds: list[float]) -> dict:
    took = sorted(seconds)
    return {"p50_ms": round(took[len(took) // 2] * 1e3, 2), "p95_ms": round(took[int(len(took) * 0.95) - 1] * 1e3, 2)}


def recall(found: list, exact: list) -> float:
    return sum(len(set(a) & set(b)) for a, b in zip(found, exact)) / sum(len(b) for b in exact)


def with_neuronlake(options, segments: list, exact: list, queries: np.ndarray) -> None:
    Embeddings.queries = queries
    server = ThreadingHTTPServer(("127.0.0.1", 0), Embeddings)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hybrid = subprocess.run([options.program, "query", "show", "hybrid"], capture_output=True, text=True, check=True).stdout
    hybrid = "\n".join(line for line in hybrid.splitlines() if not line.startswith("--"))

    def semantic(number, condition):
        return (f"SELECT explanation FROM semantic_matches('query {number}', '{ENCODER}') WHERE {condition} "
                f"ORDER BY similarity DESC, explanation LIMIT {TOP}")

    def both(number, condition):
        sql = hybrid.replace("$words", f"'words about query {number}'").replace("$encoder", f"'{ENCODER}'")
        return sql.replace("$condition", f"({condition})").replace("$top", str(TOP))

    for name, make, condition in [("semantic", semantic, "TRUE"), ("semantic, filtered", semantic, "layer >= 8 AND score > 0.5"),
                                  ("hybrid", both, "TRUE"), ("hybrid, filtered", both, "layer >= 8 AND score > 0.5")]:
        numbers = range(len(queries))
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
            # Twice: the first time pages of the index are read, and vectors of the queries asked for.
            script.write("".join(make(number, condition) + ";\n" for _ in range(2) for number in numbers))
            script.flush()
            process = subprocess.Popen(
                [options.program, "sql", "--lake", str(options.lake), "--format", "json", "--file", script.name,
                 "--base-url", f"http://127.0.0.1:{server.server_port}/v1"], stdout=subprocess.PIPE)
            ends, rows = [], []
            for line in process.stdout:
                ends.append(time.perf_counter())
                rows.append([row["explanation"] for row in json.loads(line)])
            _, status, usage = os.wait4(process.pid, 0)
        assert status == 0 and len(ends) == 2 * len(queries), (name, status, len(ends))
        warm = [after - before for before, after in zip(ends[len(queries) - 1:], ends[len(queries):])]
        result = {"engine": "neuronlake", "query": name, **percentiles(warm), "peak_MiB": usage.ru_maxrss // 1024}
        if name == "semantic":
            keys = [segment["keys"] for segment in segments]
            starts = np.cumsum([0] + [segment["rows"] for segment in segments])

            def key(row):
                segment = int(np.searchsorted(starts, row, side="right")) - 1
                return keys[segment][row - int(starts[segment])].as_py()

            result["recall_at_20"] = round(recall(rows[len(queries):], [[key(row) for row in near] for near in exact]), 4)
        told(**result)
    server.shutdown()


def with_usearch(vectors: Vectors, segments: list, exact: list, queries: np.ndarray) -> None:
    from usearch.index import Index

    before, start = resident(), time.perf_counter()
    index = Index(ndim=vectors.width, metric="ip", dtype="f16", connectivity=16)
    first = 0
    for number, segment in enumerate(segments):
        index.add(np.arange(first, first + segment["rows"]), vectors.segment(number, segment["rows"]))
        first += segment["rows"]
    built = time.perf_counter() - start
    run_others("usearch (f16, 16 links)", index, built, before, exact, queries,
               lambda query: [int(key) for key in index.search(query, TOP).keys])


def with_hnswlib(vectors: Vectors, segments: list, exact: list, queries: np.ndarray) -> None:
    import hnswlib

    before, start = resident(), time.perf_counter()
    index = hnswlib.Index(space="ip", dim=vectors.width)
    index.init_index(max_elements=sum(segment["rows"] for segment in segments), ef_construction=128, M=16)
    first = 0
    for number, segment in enumerate(segments):
        index.add_items(vectors.segment(number, segment["rows"]), np.arange(first, first + segment["rows"]))
        first += segment["rows"]
    built = time.perf_counter() - start
    index.set_ef(128)
    run_others("hnswlib (f32, 16 links, ef 128)", index, built, before, exact, queries,
               lambda query: [int(key) for key in index.knn_query(query, TOP, num_threads=1)[0][0]])


def resident() -> int:
    """MiB of this process that are in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() >> 20


def run_others(name, index, built, before, exact, queries, search) -> None:
    found, took = [], []
    for query in queries:
        start = time.perf_counter()
        found.append(search(query))
        took.append(time.perf_counter() - start)
    told(engine=name, query="semantic", build_seconds=round(built, 1), **percentiles(took), recall_at_20=round(recall(found, exact), 4),
         memory_MiB=resident() - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("lake", type=Path)
    parser.add_argument("--from", dest="source", type=Path, required=True)
    parser.add_argument("--program", required=True)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--usearch", action="store_true")
    parser.add_argument("--hnswlib", action="store_true")
    options = parser.parse_args()
    import pyarrow as pa
    from deltalake import DeltaTable

    assert not (options.lake / "explanation_vectors").exists(), "the lake has vectors of its own"
    real = DeltaTable(str(options.source / "explanation_vectors")).to_pyarrow_table(columns=["vector"])["vector"]
    vectors = Vectors(np.stack(real.to_numpy(zero_copy_only=False)).astype(np.float32), options.seed)
    start = time.perf_counter()
    subprocess.run([options.program, "index", "--lake", str(options.lake), "--keyword-only"], check=True, stdout=subprocess.DEVNULL)
    told(engine="neuronlake", step="index of texts", seconds=round(time.perf_counter() - start, 1), load=os.getloadavg())
    folder = options.lake / "_search"
    manifest = json.loads((folder / "manifest.json").read_text())
    n_rows = sum(segment["n_rows"] for segment in manifest["segments"])
    rng = np.random.default_rng([options.seed, 1 << 40])
    queries = perturbed(vectors.segment(0, manifest["segments"][0]["n_rows"])[: options.queries], rng)
    number = manifest["next"] + 1
    manifest["next"] = number
    # Brute force goes along: every vector is made once for the files and the exact answer.
    best = [(np.empty(0, np.float32), np.empty(0, np.int64)) for _ in queries]
    segments, first, n_bytes = [], 0, 0
    start = time.perf_counter()
    for place, entry in enumerate(manifest["segments"]):
        made = vectors.segment(place, entry["n_rows"])
        at = folder / f"segment-{entry['number']}"
        write_segment(at, number, made, floats=n_rows <= EXACT_ROWS)
        n_bytes += sum(path.stat().st_size for path in at.glob(f"vectors-{number}.*"))
        products = queries @ made.T
        for query, row in enumerate(products):
            near = np.argpartition(-row, TOP)[:TOP]
            scores = np.concatenate([best[query][0], row[near]])
            rows = np.concatenate([best[query][1], near + first])
            order = np.argsort(-scores, kind="stable")[:TOP]
            best[query] = (scores[order], rows[order])
        with pa.memory_map(str(at / "texts.arrow")) as file:
            segments.append({"rows": entry["n_rows"], "keys": pa.ipc.open_file(file).read_all()["explanation"].combine_chunks()})
        first += entry["n_rows"]
    exact = [[int(row) for row in rows] for _, rows in best]
    manifest["vectors"] = {ENCODER: {"version": None, "width": vectors.width, "files": [],
                                     "segments": [number] * len(manifest["segments"]), "recall": None}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    told(engine="neuronlake", step="vectors made, quantised, compared exactly", rows=n_rows, seconds=round(time.perf_counter() - start, 1),
         bytes_of_a_row=round(n_bytes / n_rows))
    with_neuronlake(options, segments, exact, queries)
    if options.usearch:
        with_usearch(vectors, segments, exact, queries)
    if options.hnswlib:
        with_hnswlib(vectors, segments, exact, queries)
    told(load=os.getloadavg())


if __name__ == "__main__":
    main()
