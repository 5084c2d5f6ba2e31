"""Many people at the viewer at once: requests, errors and latencies.

Starts `neuronlake serve` on a free port, lets VIEWERS people in as soon as it listens, who walk its pages for SECONDS (each waits THINK
seconds between pages; 0 asks again at once), and prints requests a second and p50, p95 and p99 of the time until a page was whole, over all
of the time and over its first five seconds. Each person walks a random way of their own (seeded) over home, browse, search and neuron pages,
which they take as browsers do, compressed. NEURONS bounds how many different neurons they look at, the best first. A page that was made is
kept until the lake changes: with --warm every page is asked for once before anything is counted, which shows the server at ease, and
--calm SECONDS lets it alone before the people come. Without them the server has just started and nothing is made.

Run: scripts/load_viewer.py PROGRAM LAKE [--viewers 200] [--seconds 30] [--think 1] [--neurons 1000] [--calm 0] [--warm] [-- ARGUMENTS OF serve]
Needs Python 3.11, nothing else.
"""

import argparse
import asyncio
import json
import random
import re
import subprocess
import time
import urllib.parse

WORDS = ["the", "king", "plural", "number", "of", "she", "castle", "not", "verb", "name"]


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("lake")
    parser.add_argument("--viewers", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--think", type=float, default=1.0)
    parser.add_argument("--neurons", type=int, default=1000)
    parser.add_argument("--calm", type=float, default=0.0, help="seconds between the start of the server and the first person")
    parser.add_argument("serve", nargs="*", help="arguments of serve, after --")
    parser.add_argument("--warm", action="store_true", help="ask for every page once before counting")
    return parser.parse_args()


class Connection:
    """One HTTP/1.1 connection that is kept."""

    def __init__(self, host, port):
        self.host, self.port, self.reader = host, port, None

    async def get(self, path, encoding="identity"):
        if self.reader is None:
            self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
        self.writer.write(f"GET {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nAccept-Encoding: {encoding}\r\n\r\n".encode())
        head = await self.reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        if length:
            body = await self.reader.readexactly(int(length[1]))
        else:
            body = b""
            while size := int((await self.reader.readline()).strip(), 16):
                body += await self.reader.readexactly(size)
                await self.reader.readexactly(2)
            await self.reader.readexactly(2)
        return status, body


async def view(number, address, neurons, begun_all, until, think, latencies, errors):
    draw = random.Random(number)
    host, port = address
    connection = Connection(host, port)
    await asyncio.sleep(draw.random() * think)
    while time.monotonic() < until:
        page = draw.random()
        if page < 0.1:
            path = "/"
        elif page < 0.3:
            path = f"/browse?page={draw.randint(1, 5)}"
        elif page < 0.4:
            path = f"/search?q={draw.choice(WORDS)}"
        else:
            path = draw.choice(neurons)
        begun = time.monotonic()
        try:
            status, _ = await connection.get(path, "gzip")
            if status != 200:
                errors.append(f"{status} {path}")
        except (OSError, asyncio.IncompleteReadError) as error:
            errors.append(f"{error!r} {path}")
            connection.reader = None
        latencies.append((begun - begun_all, time.monotonic() - begun))
        await asyncio.sleep(think * (0.5 + draw.random()))


def neuron_pages(arguments):
    """Addresses of the pages of the best neurons, by another process: the server is asked for nothing before the people come."""
    query = f"SELECT model, hook_point, neuron FROM best_explanations ORDER BY value DESC, model, hook_point, neuron LIMIT {arguments.neurons}"
    command = [arguments.program, "sql", "--lake", arguments.lake, "--format", "jsonl", query]
    rows = [json.loads(line) for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()]
    part = lambda row, name: urllib.parse.quote(str(row[name]), safe="")
    return ["/neuron/" + "/".join(part(row, name) for name in ("model", "hook_point", "neuron")) for row in rows]


async def measure(arguments, address, neurons):
    await asyncio.sleep(arguments.calm)
    if arguments.warm:
        pages = ["/", *(f"/browse?page={n}" for n in range(1, 6)), *(f"/search?q={w}" for w in WORDS), *neurons]
        connection = Connection(*address)
        begun = time.monotonic()
        for page in pages:
            await connection.get(page, "gzip")
        print(f"{len(pages)} pages made one after another: {1000 * (time.monotonic() - begun) / len(pages):.1f} ms each")
    latencies, errors = [], []
    begun = time.monotonic()
    until = begun + arguments.seconds
    people = [
        view(number, address, neurons, begun, until, arguments.think, latencies, errors) for number in range(arguments.viewers)
    ]
    await asyncio.gather(*people)
    print(f"{arguments.viewers} viewers, {arguments.think} s between pages, {len(neurons)} neurons, {len(errors)} errors")
    for title, seconds in [("all", arguments.seconds), ("the first 5 s", 5.0)]:
        sorted_ms = sorted(1000 * took for at, took in latencies if at < seconds)
        if sorted_ms:
            quantile = lambda share: sorted_ms[min(len(sorted_ms) - 1, int(share * len(sorted_ms)))]
            slow = sum(took > 200 for took in sorted_ms)
            print(
                f"  {title}: {len(sorted_ms)} pages ({len(sorted_ms) / seconds:.0f}/s), p50 {quantile(0.5):.1f} ms, p95 {quantile(0.95):.1f} ms, "
                f"p99 {quantile(0.99):.1f} ms, slowest {sorted_ms[-1]:.0f} ms, {slow} above 200 ms"
            )
    _, metrics = await Connection(*address).get("/metrics")
    made = re.findall(r'^neuronlake_(pages_made|queries_served)_total\{[a-z_]+="(\w+)"\} (\d+)', metrics.decode(), re.MULTILINE)
    print("  " + ", ".join(f"{name} {label} {number}" for name, label, number in made))
    for error in errors[:5]:
        print(" ", error)


def main():
    arguments = read_arguments()
    command = [arguments.program, "serve", "--lake", arguments.lake, "--listen", "127.0.0.1:0", "--no-flight"]
    command += arguments.serve
    neurons = neuron_pages(arguments)
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        host, port = re.search(r"http://([^:]+):(\d+)", server.stdout.readline()).groups()
        asyncio.run(measure(arguments, (host, int(port)), neurons))
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
