#!/usr/bin/env python3
"""What one neuron's records cost out of many: bytes read and milliseconds, from a local lake and from an S3 server on this machine.

    python scripts/bench_point_read.py WORK --program target/release/neuronlake --neurons 307200
    python scripts/bench_point_read.py WORK --program target/release/neuronlake --neurons 20000 --s3

The lake is made by neuronlake itself: records in OpenAI's layout (55 windows of 64 tokens a neuron, 6,400 neurons a layer) are written
a layer at a time, imported, and removed; WORK keeps the lake, so that a second run only measures, and one with --s3 loads it up. 307,200
neurons take about 4 GB. Asked are neurons at random, one query each: once in a process of its own (cold: the log is read, the footers too), and many
in one process (warm). Local bytes are what the process read from files; of S3, what came over the connection, counted by a proxy.
S3 needs moto (scripts/requirements-test.txt), which keeps all objects in memory.
"""

import argparse
import json
import os
import random
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

LENGTH = 64
OF_LAYER = 6_400
BODIES = 400
QUERY = ("SELECT sample, rank, sequence, activations FROM activation_records "
         "WHERE hook_point = 'blocks.{layer}.mlp.hook_post' AND neuron = {neuron} ORDER BY sample, split, rank")
S3 = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
from moto.server import main
main(['-H', '127.0.0.1', '-p', '0'])
"""


def records(seed: int, count: int) -> list[str]:
    """JSON records over a pool of windows; the values are those that 32 bits hold."""
    draw = random.Random(seed)
    words = ["".join(draw.choices("etaoinshrdlu", k=draw.randint(1, 7))) for _ in range(5_000)]
    made = []
    for _ in range(count):
        tokens = [" " + words[int(draw.paretovariate(0.9)) % len(words)] for _ in range(LENGTH)]
        values = [struct.unpack("f", struct.pack("f", draw.gauss(-0.08, 0.06)))[0] for _ in range(LENGTH)]
        values[draw.randrange(LENGTH)] = struct.unpack("f", struct.pack("f", draw.expovariate(0.5)))[0]
        made.append(json.dumps({"tokens": tokens, "activations": values}))
    return made


def make_lake(program: str, work: Path, lake: str, neurons: int, environment: dict) -> None:
    draw = random.Random(1)
    pool = records(0, 4_000)
    bodies = []
    for _ in range(BODIES):
        chosen = draw.choices(pool, k=55)
        quantiles = ",".join("[" + ",".join(chosen[35 + 5 * i:40 + 5 * i]) + "]" for i in range(4))
        bodies.append(f'"mean":-0.05,"variance":0.02,"most_positive_activation_records":[{",".join(chosen[:20])}],'
                      f'"random_sample":[{",".join(chosen[20:35])}],"random_sample_by_quantile":[{quantiles}]}}')
    dataset = work / "dataset"
    start = time.monotonic()
    for first in range(0, neurons, OF_LAYER):
        layer = first // OF_LAYER
        folder = dataset / "collated-activations" / str(layer)
        folder.mkdir(parents=True)
        for number in range(first, min(first + OF_LAYER, neurons)):
            (folder / f"{number % OF_LAYER}.json").write_text(
                f'{{"neuron_id":{{"layer_index":{layer},"neuron_index":{number % OF_LAYER}}},{draw.choice(bodies)}')
        subprocess.run([program, "import", "openai", str(dataset), "--lake", lake, "--quiet"], check=True, env=environment,
                       stdout=subprocess.DEVNULL)
        shutil.rmtree(dataset)
        print(f"{min(first + OF_LAYER, neurons)} of {neurons} neurons, {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)


class Proxy:
    """Forwards connections to a server and counts what comes back."""

    def __init__(self, port: int):
        self.read = 0
        self.requests = 0
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        threading.Thread(target=self.listen, args=(listener, port), daemon=True).start()

    def listen(self, listener, port):
        while True:
            client, _ = listener.accept()
            server = socket.create_connection(("127.0.0.1", port))
            for connection in (client, server):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.forward, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self.forward, args=(server, client, True), daemon=True).start()

    def forward(self, source, target, back):
        try:
            while data := source.recv(1 << 16):
                if back:
                    self.read += len(data)
                else:
                    self.requests += data.count(b" HTTP/1.1\r\n")
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def files_read(process: subprocess.Popen) -> int:
    """Bytes that a process asked files for; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{process.pid}/io").read_text().splitlines()
    except OSError:
        return 0
    return int(lines[0].split()[1])


def measure(program: str, work: Path, lake: str, neurons: int, runs: int, environment: dict, proxy: Proxy | None) -> None:
    draw = random.Random(2)

    def asked(count):
        numbers = [draw.randrange(neurons) for _ in range(count)]
        return [QUERY.format(layer=number // OF_LAYER, neuron=number % OF_LAYER) for number in numbers]

    def so_far(process):
        return (proxy.read, proxy.requests) if proxy else (files_read(process), 0)

    def report(name, found):
        took, read, requests = (sorted(values) for values in zip(*found))
        print(json.dumps({
            "lake": "s3" if proxy else "local", "neurons": neurons, "process": name, "queries": len(found),
            "p50_ms": round(statistics.median(took), 1), "p95_ms": round(took[int(len(took) * 0.95) - 1], 1),
            "bytes_p50": statistics.median(read), "bytes_largest": read[-1], "requests_p50": statistics.median(requests) if proxy else None,
        }), flush=True)

    script = work / "queries.sql"
    nothing = "SELECT 1 AS one"
    # A process of its own for each query; what the same process takes to ask for no table is told beside it.
    for name, queries in [("no table", [nothing] * min(runs, 10)), ("cold", asked(min(runs, 10)))]:
        found = []
        for query in queries:
            script.write_text(f"{query};\n{nothing};\n")
            before = so_far(None) if proxy else (0, 0)
            start = time.perf_counter()
            process = subprocess.Popen([program, "sql", "--lake", lake, "--format", "json", "--file", str(script)],
                                       stdout=subprocess.PIPE, env=environment)
            line = process.stdout.readline()
            took = (time.perf_counter() - start) * 1e3
            after = so_far(process)
            assert len(json.loads(line)) == (1 if query == nothing else 55), query
            process.communicate()
            found.append((took, after[0] - before[0], after[1] - before[1]))
        report(name, found)
    queries = asked(runs + 5)
    script.write_text("".join(f"{query};\n" for query in queries))
    process = subprocess.Popen([program, "sql", "--lake", lake, "--format", "json", "--file", str(script)],
                               stdout=subprocess.PIPE, env=environment)
    ends = []
    for line in process.stdout:
        ends.append((time.perf_counter(), *so_far(process)))
        assert len(json.loads(line)) == 55
    assert process.wait() == 0 and len(ends) == len(queries)
    # The process may begin the next query before its bytes are read here: sums are right, single numbers are about so.
    pairs = list(zip(ends[4:-2], ends[5:-1]))
    report("warm", [((b[0] - a[0]) * 1e3, b[1] - a[1], b[2] - a[2]) for a, b in pairs])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--program", required=True)
    parser.add_argument("--neurons", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--s3", action="store_true")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ)
    lake = options.work / f"lake-{options.neurons}"
    if not lake.exists():
        make_lake(options.program, options.work, str(lake), options.neurons, environment)
    if not options.s3:
        size = sum(path.stat().st_size for path in (lake / "activation_records").rglob("*.parquet"))
        print(json.dumps({"activation_records_bytes": size, "of_a_neuron": round(size / options.neurons),
                          "files": sum(1 for _ in (lake / "activation_records").rglob("*.parquet"))}), flush=True)
        measure(options.program, options.work, str(lake), options.neurons, options.runs, environment, None)
        return
    server = subprocess.Popen([sys.executable, "-c", S3], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                              text=True)
    port = next(int(line.rsplit(":", 1)[1]) for line in server.stderr if "Running on http://" in line)
    threading.Thread(target=lambda: [None for _ in server.stderr], daemon=True).start()
    proxy = Proxy(port)
    environment |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}", "AWS_ALLOW_HTTP": "true", "AWS_ACCESS_KEY_ID": "a-key",
                    "AWS_SECRET_ACCESS_KEY": "a-secret", "AWS_REGION": "us-east-1"}
    import boto3

    client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", aws_access_key_id="a-key", aws_secret_access_key="a-secret",
                          region_name="us-east-1")
    client.create_bucket(Bucket="bench")
    for path in lake.rglob("*"):
        if path.is_file():
            client.upload_file(str(path), "bench", f"lake/{path.relative_to(lake)}")
    measure(options.program, options.work, "s3://bench/lake", options.neurons, options.runs, environment, proxy)
    server.stdin.close()
    server.wait()


if __name__ == "__main__":
    main()
