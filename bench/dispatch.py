"""How fast shards are leased, handed in and decided, as a ratio to the same calls and rows without any scheduling.

1,000 agents, each with an identity and a connection of its own, poll a real scheduler over gRPC for at most 64 shards a
call and hand in a signed result for each; nothing is executed. Every lease and every result is durable before it is
answered. In the same run, in turns, the same agents ask an echo service for as much, which commits as many rows of the
same size to a store of the same kind and does nothing else (bench/echo_scheduler.cc). The medians of five turns count.
"""

import argparse
import json
import pathlib
import sqlite3
import statistics
import subprocess
import sys
import tempfile

from support.scheduler import BIN, Scheduler, cpu_seconds, said

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests"))
from postgres import Postgres  # noqa: E402

AIM_RATIO, AIM_RATE = 0.5, 20_000
TABLES = ("job_shards", "job_attempts", "shard_results")


class Side:
    """Agents at work with the scheduler or with the floor, whose process is `pid`."""

    def __init__(self, address, token, pid, options):
        self.pid = pid
        self.seconds = options.seconds
        self.turns = []
        self.agents = subprocess.Popen(
            [BIN / "bench_noop_agents", address, token, str(options.agents), str(options.batch)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        said(self.agents)

    def turn(self):
        before = cpu_seconds(self.pid)
        self.agents.stdin.write(f"{self.seconds}\n")
        self.agents.stdin.flush()
        done = said(self.agents)
        if done["shards_with_ends"] == 0:
            sys.exit("no shard was done in this turn")
        done["rate"] = done["shards"] / done["seconds"]
        done["server_us"] = (cpu_seconds(self.pid) - before) / done["shards_with_ends"] * 1e6
        done["agents_us"] = done["cpu_with_ends"] / done["shards_with_ends"] * 1e6
        self.turns.append(done)

    def median(self, what):
        return statistics.median(turn[what] for turn in self.turns)

    def close(self):
        self.agents.stdin.close()
        self.agents.wait(60)

    def __str__(self):
        return (f"{self.median('rate'):.0f} shards/s, CPU a shard {self.median('server_us'):.0f} us of the server "
                f"and {self.median('agents_us'):.0f} us of all agents")


def progress(done, of):
    if sys.stderr.isatty():
        print(f"\r[{'#' * (40 * done // of):<40}] turn {done}/{of}", end="\n" if done == of else "",
              file=sys.stderr, flush=True)


def submit(scheduler, replicas):
    job = scheduler.folder / "noop.yaml"
    job.write_text(json.dumps({
        "name": "noop", "run": {"command": ["/bin/true"]}, "shards": 10_000_000,
        "resources": {"cpus": 1, "memory": "64MiB"},
        "redundancy": {"replicas": replicas, "quorum": 1, "distinct": "device"}}))
    scheduler.cli("job", "submit", job)


def stored(path):
    """Rows and bytes a finished shard of a SQLite store: that of the floor must have as much."""
    with sqlite3.connect(path) as db:
        rows = sum(db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in TABLES)
        done = db.execute("SELECT COUNT(*) FROM job_shards WHERE state = 1").fetchone()[0]
    return f"{rows / done:.2f} rows, {path.stat().st_size / done:.0f} bytes"


def measure(folder, stores, replicas, options, turned):
    """The scheduler and the floor with their turns behind them; `turned` is called after each turn."""
    with Scheduler(folder / "grid", stores and stores[0]) as scheduler:
        submit(scheduler, replicas)
        echo_store = stores[1] if stores else folder / "echo.db"
        echo = subprocess.Popen([BIN / "bench_echo_scheduler", echo_store, str(replicas)],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        sides = (Side(scheduler.address, scheduler.token(options.agents), scheduler.process.pid, options),
                 Side(said(echo)["address"], "none", echo.pid, options))
        for _ in range(options.turns):
            for side in sides:
                side.turn()
                turned()
        for side in sides:
            side.close()
        echo.stdin.close()
        echo.wait(60)
    if not stores:
        print(f"stored a shard: scheduler {stored(folder / 'grid' / 'scheduler' / 'state.db')}, "
              f"floor {stored(folder / 'echo.db')}")
    return sides


def report(name, scheduler, floor):
    ratio = scheduler.median("rate") / floor.median("rate")
    print(f"{name}: scheduler {scheduler}\n{' ' * len(name)}  floor     {floor}\n"
          f"{' ' * len(name)}  ratio {ratio:.2f}", flush=True)
    return ratio


def main():
    parser = argparse.ArgumentParser(prog="./dev bench dispatch", description=__doc__.splitlines()[0])
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=64, help="shards a call (default %(default)s)")
    parser.add_argument("--turns", type=int, default=5, help="of which the median counts (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=4, help="of a turn, after one second of warming up")
    parser.add_argument("--only", action="store_true", help="SQLite with one replica, which the aim is about")
    options = parser.parse_args()
    cases = [("SQLite", 1)] + ([] if options.only else [("SQLite", 2), ("PostgreSQL", 1), ("PostgreSQL", 2)])
    turns = 0

    def turned():
        nonlocal turns
        turns += 1
        progress(turns, 2 * options.turns * len(cases))

    results = []
    server = None if options.only else Postgres().start()
    try:
        for kind, replicas in cases:
            stores = kind == "PostgreSQL" and [server.new_database(f"{side}{replicas}") for side in ("grid", "echo")]
            with tempfile.TemporaryDirectory(prefix="corpgrid-bench.", dir="/var/tmp") as folder:
                results.append(measure(pathlib.Path(folder), stores, replicas, options, turned))
    finally:
        if server:
            server.close()
    names = [f"{kind}, {replicas} replica{'s' * (replicas > 1)}" for kind, replicas in cases]
    ratios = [report(name, *sides) for name, sides in zip(names, results)]
    print(f"shards-per-second {results[0][0].median('rate'):.0f} (aim {AIM_RATE} on two cores)")
    print(f"ratio dispatch-vs-floor {ratios[0]:.2f} (aim {AIM_RATIO}; median of {options.turns})")


if __name__ == "__main__":
    main()
