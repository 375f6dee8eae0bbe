"""How fast a grid executes short shards, as a ratio to starting the same command without any grid.

A grid of one agent runs shards of /bin/true: sandboxed, each in namespaces of its own, quorum 1, every result signed,
and durable in SQLite (synchronous=FULL) before it is acknowledged. The time is from before the submission to after the
CLI learned that all results are acknowledged. In the same run, in turns, bench_spawn starts the same command at the
same parallelism with posix_spawn and nothing else. The medians of five turns count.
"""

import argparse
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

BIN = pathlib.Path(os.environ["CORPGRID_BIN"])
WRITE_1K = ["/bin/sh", "-c", "printf %01024d 7 > out"]


def spawn_rate(command, parallelism, count):
    out = subprocess.run([BIN / "bench_spawn", str(parallelism), str(count), *command],
                         check=True, capture_output=True, text=True, cwd=tempfile.gettempdir())
    return float(out.stdout)


class Grid:
    def __init__(self, folder, slots):
        self.folder = folder
        self.log = open(folder / "up.log", "w")
        self.process = subprocess.Popen(
            [BIN / "corpgrid", "up", "--data", folder / "data", "--api", "none", "--agents", "1", "--slots", str(slots)],
            stdout=self.log, stderr=subprocess.STDOUT)
        self.wait_for_device()

    def cli(self, *args):
        out = subprocess.run([BIN / "corpgrid", *args, "--data", self.folder / "data", "--json"],
                             capture_output=True, text=True, timeout=300)
        if out.returncode != 0:
            sys.exit(f"corpgrid {' '.join(map(str, args))} failed:\n{out.stdout}{out.stderr}")
        return json.loads(out.stdout)

    def wait_for_device(self):
        deadline = time.monotonic() + 30
        while "ready" not in (self.folder / "up.log").read_text():
            if time.monotonic() > deadline or self.process.poll() is not None:
                sys.exit("the grid did not start:\n" + (self.folder / "up.log").read_text())
            time.sleep(0.05)

    def rate(self, name, command, outputs, shards):
        job = self.folder / f"{name}.yaml"
        job.write_text(json.dumps({
            "name": name, "run": {"command": command}, "shards": shards, "outputs": outputs,
            "resources": {"cpus": 1, "memory": "64MiB"}}))
        start = time.monotonic()
        result = self.cli("job", "run", job)
        took = time.monotonic() - start
        assert result["state"] == "done" and result["shards_done"] == shards, result
        return shards / took

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=20)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, default=6000, help="of each job (default %(default)s)")
    parser.add_argument("--turns", type=int, default=5, help="of which the median counts (default %(default)s)")
    parser.add_argument("--parallelism", type=int, default=os.cpu_count())
    args = parser.parse_args()
    root = "/var/tmp" if os.getuid() == 0 else None
    rates = {"spawn": [], "exec": [], "spawn-sh": [], "exec-1k-output": []}
    with tempfile.TemporaryDirectory(dir=root, prefix="corpgrid-bench-") as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        grid = Grid(folder, args.parallelism)
        try:
            grid.rate("warm-up", ["/bin/true"], [], 200)
            for turn in range(args.turns):
                rates["spawn"].append(spawn_rate(["/bin/true"], args.parallelism, args.shards))
                rates["exec"].append(grid.rate("true", ["/bin/true"], [], args.shards))
                rates["exec-1k-output"].append(grid.rate("1k", WRITE_1K, ["out"], args.shards // 2))
                rates["spawn-sh"].append(
                    spawn_rate(["/bin/sh", "-c", "exit 0"], args.parallelism, args.shards))
                print(f"turn {turn + 1}: " + ", ".join(f"{k} {v[-1]:.0f}/s" for k, v in rates.items()), flush=True)
        finally:
            grid.stop()
    median = {key: statistics.median(values) for key, values in rates.items()}
    print(f"{args.parallelism} at a time, medians: " + ", ".join(f"{k} {v:.0f}/s" for k, v in median.items()))
    print(f"ratio exec-vs-spawn {median['exec'] / median['spawn']:.2f}")
    print(f"ratio exec-1k-output-vs-spawn {median['exec-1k-output'] / median['spawn']:.2f}")


if __name__ == "__main__":
    main()
