#!/usr/bin/env python3
"""A lake in Azure's blob storage: the same tables as on the local disk, and two runs at once that do each unit once.

Starts Azurite (Microsoft's own emulator of the service, from the npm registry) on a free port, and removes it with what it stored.

Run: python scripts/check_azure.py [PROGRAM]      (target/release/neuronlake unless named)
Needs Node.js with npm, and Python 3.11 with nothing else. Last run with azurite 3.35, Node 20.
"""

import base64
import datetime
import hashlib
import hmac
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

ACCOUNT = "devstoreaccount1"
# The emulator's own key: public, the same everywhere.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
TABLES = ["documents", "token_sequences", "neurons", "activation_records", "token_activations", "explanations", "simulations", "scores"]
SMALL = ["--layers", "0", "--neurons", "0-7"]


def start(folder: Path) -> tuple[subprocess.Popen, str]:
    subprocess.run(["npm", "install", "--silent", "--prefix", str(folder), "azurite@3"], check=True)
    server = subprocess.Popen(
        [folder / "node_modules/.bin/azurite-blob", "--blobHost", "127.0.0.1", "--blobPort", "0", "--location", folder / "data",
         "--skipApiVersionCheck", "--disableTelemetry", "--silent"], stdout=subprocess.PIPE, text=True)
    for line in server.stdout:
        if "listens on " in line:
            return server, line.split("listens on ")[1].strip()
    sys.exit("Azurite ended before it listened")


def make_container(address: str, name: str) -> None:
    date = datetime.datetime.now(datetime.UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    headers = {"x-ms-date": date, "x-ms-version": "2021-08-06"}
    signed = "".join(f"{key}:{headers[key]}\n" for key in sorted(headers))
    text = f"PUT\n\n\n\n\n\n\n\n\n\n\n\n{signed}/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
    signature = base64.b64encode(hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()).decode()
    headers |= {"Authorization": f"SharedKey {ACCOUNT}:{signature}", "Content-Length": "0"}
    url = f"{address}/{ACCOUNT}/{name}?restype=container"
    assert urllib.request.urlopen(urllib.request.Request(url, method="PUT", headers=headers)).status == 201


def rows_of(text: str) -> list[str]:
    return sorted(json.dumps(row, sort_keys=True) for row in json.loads(text))


def main() -> None:
    program = str(Path(sys.argv[1] if len(sys.argv) > 1 else "target/release/neuronlake").resolve())
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        server, address = start(folder)
        environment = os.environ | {"AZURE_STORAGE_USE_EMULATOR": "true", "AZURITE_BLOB_STORAGE_URL": address}
        command = lambda *arguments: [program, *arguments]

        def out(*arguments: str) -> str:
            return subprocess.run(command(*arguments), env=environment, check=True, capture_output=True, text=True, cwd=folder).stdout

        try:
            make_container(address, "lakes")
            cloud, local, shared = "az://lakes/one", str(folder / "one"), "az://lakes/two"
            for lake in (cloud, local):
                out("run", "--lake", lake, *SMALL)
            runs = [subprocess.Popen(command("run", "--lake", shared, *SMALL), env=environment, stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL, cwd=folder) for _ in range(2)]
            assert [run.wait() for run in runs] == [0, 0], "both runs end well"
            for table in TABLES:
                query = f"SELECT * EXCLUDE (run) FROM {table}"
                rows = [rows_of(out("sql", "--lake", lake, "--format", "json", query)) for lake in (local, cloud, shared)]
                assert rows[0] and rows[0] == rows[1] == rows[2], f"{table}: the lakes differ"
                print(f"{table}: {len(rows[0])} rows, the same on the local disk, in Azure, and written by two runs at once")
            out("maintain", "--lake", cloud)
            query = "SELECT count(*) AS n FROM scores"
            assert out("sql", "--lake", cloud, "--format", "csv", query) == out("sql", "--lake", local, "--format", "csv", query)
            print("maintained: the same rows")
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
