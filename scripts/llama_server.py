#!/usr/bin/env python3
"""Starts llama.cpp's own server (PyPI `xllamacpp`) on a free port of this machine, for tests and benchmarks.

Prints one line of JSON, {"address": "http://127.0.0.1:PORT"}, when it listens, and ends when its standard input closes, so that it
never outlives whoever started it.

Run:  python scripts/llama_server.py --model FILE.gguf [--threads 1] [--context 4096] [--slots 1] < some pipe
Written for xllamacpp 2026.10.11549. More threads than free processors make it many times slower: ggml waits by spinning.
"""

import argparse
import json
import os
import sys

import xllamacpp


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--context", type=int, default=4096, help="tokens of each slot")
    parser.add_argument("--slots", type=int, default=1, help="requests that run side by side")
    args = parser.parse_args()

    params = xllamacpp.CommonParams()
    params.model.path = args.model
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx = args.context * args.slots
    params.n_parallel = args.slots
    params.cpuparams.n_threads = args.threads
    params.cpuparams_batch.n_threads = args.threads
    params.n_gpu_layers = 0
    params.warmup = False
    params.cache_prompt = True
    server = xllamacpp.Server(params)
    # The server's own messages must not stand before the address.
    print(json.dumps({"address": server.listening_address}), flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
