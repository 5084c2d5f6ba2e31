"""One worker of one core against two, on a stage that computes much: scores with their bootstrap intervals, or ablation scores.

    python scripts/bench_cluster.py FOLDER --neurons 102400 --program target/release/neuronlake [--rounds 3] [--cores 0,1]
    python scripts/bench_cluster.py FOLDER --ablation 0-39 --program target/release/neuronlake

FOLDER is made by scripts/make_scores_lake.py where it is not there; its table `scores` is removed before every run. With --ablation it is the
demo's lake, and scores of these neurons of every layer are regenerated with ablation scores: the subject model runs many times a unit. Every worker is pinned to a
core of its own with taskset and runs one task at a time; the scheduler and the client, which commits the rows, are not pinned and take the rest of
whatever cores there are, so on a machine of two cores they take theirs from the second worker.

Prints JSON lines, medians of the rounds:
  one process    the engine without a scheduler, pinned to one core: what the distributed plan adds is seen beside one worker
  1, 2 workers   seconds of the stage, how many times as fast as one worker, and the seconds of processor that the workers, the scheduler
                 and the client used: where they share cores, two workers are at most 2 x workers / (workers + scheduler + client) times
                 as fast as one whose core is its own
  one query      milliseconds of a small query: what planning for workers and fetching from them costs
and checks that every way writes the same rows.
"""

import argparse
import contextlib
import csv
import io
import json
import os
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from make_scores_lake import make

STAGE = ["--model", "./model", "--corpus", "corpus.jsonl", "--from", "scores"]
SUMS = ("SELECT count(*) AS rows, count(value) AS with_value, round(sum(value), 6) AS value, round(sum(control), 6) AS control, "
        "round(sum(low), 6) AS low, round(sum(high), 6) AS high FROM scores")
SMALL = "SELECT count(*) FROM simulations WHERE neuron < 10 AND sequence % 3 = 0"


def pinned(core: str | None, command: list[str]) -> list[str]:
    return ["taskset", "-c", core, *command] if core else command


@contextlib.contextmanager
def cluster(program: str, folder: Path, cores: list[str]):
    """The engine's address and the processes, the scheduler's first, while a scheduler and a worker a core run."""
    with contextlib.ExitStack() as stack:
        processes = []
        def start(command: list[str]) -> str:
            process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            processes.append(process.pid)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            return process.stdout.readline().strip()
        address = start([program, "scheduler", "--lake", "lake", "--listen", "127.0.0.1:0"]).removeprefix("scheduler: ")
        for core in cores:
            work = stack.enter_context(tempfile.TemporaryDirectory())
            start(pinned(core, [program, "worker", "--lake", "lake", "--scheduler", address.removeprefix("ballista://"), "--tasks", "1",
                                "--work", work]))
        yield address, processes


def processor(process: int) -> float:
    """Seconds of processor that a process has used until now."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def stage(program: str, folder: Path, engine: str, core: str | None) -> tuple[float, float]:
    """Seconds, and seconds of processor in this process's child."""
    shutil.rmtree(folder / "lake" / "scores", ignore_errors=True)
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(pinned(core, [program, "--quiet", "run", "--lake", "lake", "--engine", engine, *STAGE]), cwd=folder, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - start, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def stage_on_workers(program: str, folder: Path, engine: str, processes: list[int]) -> dict[str, float]:
    before = [processor(process) for process in processes]
    seconds, client = stage(program, folder, engine, None)
    scheduler, *workers = (processor(process) - was for process, was in zip(processes, before))
    return {"seconds": seconds, "workers": sum(workers), "scheduler": scheduler, "client": client}


def ask(program: str, folder: Path, engine: str, query: str) -> list[list[str]]:
    command = [program, "sql", "--lake", "lake", "--engine", engine, "--format", "csv", query]
    out = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
    return list(csv.reader(io.StringIO(out)))


def median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def small_query(program: str, folder: Path, engine: str, rounds: int) -> float:
    took = []
    for _ in range(rounds):
        start = time.perf_counter()
        ask(program, folder, engine, SMALL)
        took.append((time.perf_counter() - start) * 1e3)
    return median(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--neurons", type=int, default=102_400)
    parser.add_argument("--program", default="target/release/neuronlake")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", default="0,1", help="a core for each worker")
    parser.add_argument("--ablation", metavar="NEURONS", help="such as 0-39")
    options = parser.parse_args()
    program, cores = str(Path(options.program).absolute()), options.cores.split(",")
    if options.ablation:
        STAGE[:] = ["--from", "scores", "--neurons", options.ablation, "--ablation"]
        options.neurons = options.ablation
        options.folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([program, "--quiet", "demo", "--lake", "lake"], cwd=options.folder, check=True, stdout=subprocess.DEVNULL)
    elif not (options.folder / "lake").exists():
        make(options.folder, options.neurons, program, 0)
    one_process = median([stage(program, options.folder, "local", cores[0])[0] for _ in range(options.rounds)])
    rows = ask(program, options.folder, "local", SUMS)
    small = small_query(program, options.folder, "local", options.rounds)
    say = lambda **fields: print(json.dumps({**fields, "load": os.getloadavg()[0]}), flush=True)
    say(what="one process", neurons=options.neurons, seconds=one_process, small_query_milliseconds=small)
    first = None
    for n in range(1, len(cores) + 1):
        with cluster(program, options.folder, cores[:n]) as (engine, processes):
            runs = [stage_on_workers(program, options.folder, engine, processes) for _ in range(options.rounds)]
            run = sorted(runs, key=lambda run: run["seconds"])[len(runs) // 2]
            seconds = run["seconds"]
            got = ask(program, options.folder, "local", SUMS)
            small = small_query(program, options.folder, engine, options.rounds)
        assert got == rows, f"other rows on {n} workers: {got} instead of {rows}"
        first = first or seconds
        say(what=f"{n} workers", neurons=options.neurons, seconds=seconds, times_one_worker=first / seconds,
            times_one_process=one_process / seconds, small_query_milliseconds=small,
            processor={name: run[name] for name in ["workers", "scheduler", "client"]})


if __name__ == "__main__":
    main()
