"""Many people at the viewer at once: requests, errors and latencies.

Starts `neuronlake serve` on a free port, lets VIEWERS people walk its pages for SECONDS (each waits THINK seconds between pages; 0 asks
again at once), and prints requests a second and p50, p95 and p99 of the time until a page was whole. Each person walks a random way
of their own (seeded) over home, browse, search and neuron pages, which they take as browsers do, compressed. NEURONS bounds how many different neurons they look at: a page that
was made is kept until the lake changes, so fewer neurons, or a first round that is not counted (--warm), show the server at ease.

Run: scripts/load_viewer.py PROGRAM LAKE [--viewers 200] [--seconds 30] [--think 1] [--neurons 1000] [--warm]
Needs Python 3.11, nothing else.
"""

import argparse
import asyncio
import random
import re
import subprocess
import time

WORDS = ["the", "king", "plural", "number", "of", "she", "castle", "not", "verb", "name"]


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("lake")
    parser.add_argument("--viewers", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--think", type=float, default=1.0)
    parser.add_argument("--neurons", type=int, default=1000)
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


async def view(number, address, neurons, until, think, latencies, errors):
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
        latencies.append(time.monotonic() - begun)
        await asyncio.sleep(think * (0.5 + draw.random()))


async def measure(arguments, address):
    status, body = await Connection(*address).get("/api/v1/units?limit=1000&order=score&descending=true")
    assert status == 200, body
    found = re.findall(rb'"model":"([^"]*)","hook_point":"([^"]*)","layer":[^,]*,"neuron":(\d+)', body)
    neurons = [f"/neuron/{m.decode()}/{h.decode()}/{n.decode()}" for m, h, n in found[: arguments.neurons]]
    if arguments.warm:
        pages = ["/", *(f"/browse?page={n}" for n in range(1, 6)), *(f"/search?q={w}" for w in WORDS), *neurons]
        connection = Connection(*address)
        begun = time.monotonic()
        for page in pages:
            await connection.get(page, "gzip")
        print(f"{len(pages)} pages made one after another: {1000 * (time.monotonic() - begun) / len(pages):.1f} ms each")
    latencies, errors = [], []
    until = time.monotonic() + arguments.seconds
    people = [
        view(number, address, neurons, until, arguments.think, latencies, errors) for number in range(arguments.viewers)
    ]
    await asyncio.gather(*people)
    latencies.sort()
    at = lambda share: 1000 * latencies[min(len(latencies) - 1, int(share * len(latencies)))]
    print(
        f"{arguments.viewers} viewers, {arguments.think} s between pages, {len(neurons)} neurons: {len(latencies)} pages "
        f"({len(latencies) / arguments.seconds:.0f}/s), p50 {at(0.5):.1f} ms, p95 {at(0.95):.1f} ms, p99 {at(0.99):.1f} ms, "
        f"slowest {1000 * latencies[-1]:.0f} ms, {len(errors)} errors"
    )
    for error in errors[:5]:
        print(" ", error)


def main():
    arguments = read_arguments()
    command = [arguments.program, "serve", "--lake", arguments.lake, "--listen", "127.0.0.1:0", "--no-flight"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        host, port = re.search(r"http://([^:]+):(\d+)", server.stdout.readline()).groups()
        asyncio.run(measure(arguments, (host, int(port))))
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
