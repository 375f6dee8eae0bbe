"""How long a standby takes to answer for a leader that is killed, with a thousand devices and a million live shards.

Two schedulers share a PostgreSQL server, which flushes every commit to the disk. The grid is filled with shards that
all run; its devices (`bench_takeover`) heartbeat them, wait for work and hand results in, while somebody submits jobs.
The leader is killed with SIGKILL; the time is until the standby answers the command line, and until it has answered
every device. The one that was killed is then started again, as the next standby. Afterwards every job and every result
that was acknowledged must be in the database.
"""

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests"))
from postgres import Postgres  # noqa: E402

BIN = pathlib.Path(os.environ["CORPGRID_BIN"])
AIM_S = 5
READY = "standing by with the grid's state in memory"


def await_(condition, seconds, what, log=None):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"waited {seconds} s in vain for {what}\n{log.read_text() if log else ''}")
        time.sleep(0.01)


class Scheduler:
    def __init__(self, bench, number):
        self.bench, self.log = bench, bench.folder / f"scheduler-{number}.log"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [BIN / "corpgrid", "scheduler", "--data", bench.data, "--store", bench.url, "--listen",
                 bench.listen], stdout=log, stderr=subprocess.STDOUT)

    def runs(self):
        if self.process.poll() is not None:
            sys.exit(f"a scheduler ended:\n{self.log.read_text()}")
        return True

    def leads(self):
        self.runs()
        try:
            return json.loads((self.bench.data / "grid.json").read_text())["pid"] == self.process.pid
        except (OSError, ValueError):
            return False

    def kill(self):
        self.process.kill()
        self.process.wait()


class Submitter(threading.Thread):
    """Submits one job after the other; keeps the keys of those that were acknowledged."""

    def __init__(self, bench):
        super().__init__(daemon=True)
        self.bench, self.acknowledged, self.ending = bench, [], False
        self.file = bench.folder / "job.yaml"
        self.file.write_text("name: small\nrun:\n  command: [/bin/true]\nshards: 3\n")
        self.start()

    def run(self):
        number = 0
        while not self.ending:
            number += 1
            if self.bench.cli("job", "submit", self.file, "--key", f"key-{number}").returncode == 0:
                self.acknowledged.append(f"key-{number}")
            time.sleep(0.1)


class Bench:
    def __init__(self, folder, postgres, options):
        self.folder, self.data, self.options, self.postgres = folder, folder / "grid", options, postgres
        self.data.mkdir()
        (folder / "keys").mkdir()
        self.url, self.listen = postgres.new_database("grid"), "127.0.0.1:0"
        self.size = [str(options.devices), str(options.shards)]
        subprocess.run([BIN / "bench_takeover", "fill", self.url, folder / "keys", *self.size], check=True)
        self.schedulers = []

    def cli(self, *args):
        return subprocess.run([BIN / "corpgrid", *args, "--data", self.data, "--json"],
                              capture_output=True, text=True, timeout=60)

    def start(self):
        self.schedulers.append(Scheduler(self, len(self.schedulers) + 1))
        return self.schedulers[-1]

    def close(self):
        for scheduler in self.schedulers:
            scheduler.kill()

    def ask(self, command):
        self.agents.stdin.write(command + "\n")
        self.agents.stdin.flush()
        return json.loads(self.agents.stdout.readline()) if command != "mark" else None

    def all_heard(self):
        return self.ask("heard")["heard"] == self.options.devices

    def turn(self, leader):
        standby = self.start()
        await_(lambda: standby.runs() and READY in standby.log.read_text(), 300, "the standby to have the state",
               standby.log)
        self.ask("mark")
        await_(self.all_heard, 120, "the leader to answer every device")
        self.ask("mark")
        began = time.monotonic()
        leader.kill()
        await_(standby.leads, 60, "the standby to lead")
        await_(lambda: self.cli("job", "list").returncode == 0, 60, "the standby to answer")
        answered = time.monotonic() - began
        await_(self.all_heard, 120, "the standby to answer every device")
        return standby, answered, self.ask("heard")["seconds"]

    def lost(self, submitter):
        """What was acknowledged and is not there."""
        keys = set(self.postgres.psql("grid", "SELECT idempotency_key FROM jobs").stdout.split())
        self.ask("accepted")
        agreed = set(self.postgres.psql("grid", "SELECT id FROM job_attempts WHERE state = 2").stdout.split())
        accepted = (self.folder / "keys/accepted").read_text().split()
        print(f"{len(submitter.acknowledged)} submissions and {len(accepted)} results were acknowledged")
        return [key for key in submitter.acknowledged if key not in keys], [a for a in accepted if a not in agreed]

    def run(self):
        leader = self.start()
        await_(leader.leads, 300, "the first scheduler to lead")
        self.listen = json.loads((self.data / "grid.json").read_text())["address"]
        with subprocess.Popen([BIN / "bench_takeover", "agents", self.data, self.folder / "keys", *self.size],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as self.agents:
            submitter = Submitter(self)
            times = []
            for turn in range(self.options.turns):
                leader, answered, heard = self.turn(leader)
                print(f"{turn + 1}: answers after {answered:.1f} s, has answered every device after {heard:.1f} s",
                      flush=True)
                times.append((answered, heard))
            submitter.ending = True
            submitter.join()
            jobs, results = self.lost(submitter)
            self.agents.stdin.close()
        if jobs or results:
            sys.exit(f"LOST: {len(jobs)} jobs, {len(results)} results")
        return times


def main():
    parser = argparse.ArgumentParser(prog="./dev bench takeover", description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, default=1_000)
    parser.add_argument("--shards", type=int, default=1_000_000, help="that run, at most 1,000 a device")
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="corpgrid-bench.", dir="/var/tmp") as folder:
        with contextlib.closing(Postgres().start()) as postgres:
            with contextlib.closing(Bench(pathlib.Path(folder), postgres, options)) as bench:
                times = bench.run()
    answered, heard = (statistics.median(column) for column in zip(*times))
    print(f"lost 0 jobs and results; all devices answered after {heard:.1f} s (median)")
    print(f"takeover-seconds {answered:.1f} (aim {AIM_S}; median of {options.turns})")


if __name__ == "__main__":
    main()
