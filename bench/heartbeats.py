"""What devices without work cost the scheduler: heartbeats of 100,000 of them, and 10,000 connections that wait.

The devices are identities of their own; their heartbeats come over a few connections (`bench_fleet`), so the first
figures are those of the scheduler and its core, the last one that of gRPC's connections. CPU time and memory are the
scheduler process's, as the kernel counts them.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

BIN = pathlib.Path(os.environ["CORPGRID_BIN"])
TICKS = os.sysconf("SC_CLK_TCK")
AIM_CORES, AIM_BYTES = 0.5, 4096


class Scheduler:
    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        self.log = open(folder / "scheduler.log", "w")
        self.process = subprocess.Popen(
            [BIN / "corpgrid", "scheduler", "--data", folder, "--listen", "127.0.0.1:0"],
            stdout=self.log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 30
        while not (folder / "grid.json").exists():
            if time.monotonic() > deadline or self.process.poll() is not None:
                sys.exit("the scheduler did not start:\n" + (folder / "scheduler.log").read_text())
            time.sleep(0.05)
        self.address = json.loads((folder / "grid.json").read_text())["address"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)
        self.log.close()

    def token(self, uses):
        out = subprocess.run([BIN / "corpgrid", "token", "create", "--owner", "bench", "--uses", str(uses),
                              "--data", self.folder, "--json"], check=True, capture_output=True, text=True)
        return json.loads(out.stdout)["token"]

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))

    def fleet(self, mode, devices, *args):
        return subprocess.Popen([BIN / "bench_fleet", mode, self.address, self.token(devices), str(devices),
                                 *map(str, args)], stdout=subprocess.PIPE, text=True)


def line(fleet):
    text = fleet.stdout.readline()
    if not text:
        sys.exit("bench_fleet ended early")
    return json.loads(text)


def heartbeats(scheduler, options):
    before = scheduler.memory()
    fleet = scheduler.fleet("heartbeats", options.devices, options.period * 1000,
                            options.seconds * options.turns)
    joined = line(fleet)
    bytes_each = (scheduler.memory() - before) / options.devices
    print(f"{joined['registered']} devices joined in {joined['seconds']:.0f} s")
    cores = []
    for _ in range(options.turns):
        cpu, start = scheduler.cpu_seconds(), time.monotonic()
        time.sleep(options.seconds * 0.95)
        cores.append((scheduler.cpu_seconds() - cpu) / (time.monotonic() - start))
    sent = line(fleet)
    fleet.wait()
    rate = sent["heartbeats"] / sent["seconds"]
    print(f"{rate:.0f} heartbeats/s, 99 % answered within {sent['p99_ms']:.1f} ms of when they were due")
    wanted = options.devices / options.period
    if rate < 0.95 * wanted:
        sys.exit(f"this machine cannot send {wanted:.0f} heartbeats/s: the figures would flatter")
    return bytes_each, statistics.median(cores)


def connections(scheduler, options):
    before = scheduler.memory()
    fleet = scheduler.fleet("polls", options.connections, 5)
    line(fleet)
    time.sleep(3)
    after = scheduler.memory()
    pending = line(fleet)["pending"]
    fleet.wait()
    if pending != options.connections:
        sys.exit(f"only {pending} of {options.connections} polls wait")
    return (after - before) / pending


def main():
    parser = argparse.ArgumentParser(prog="./dev bench heartbeats", description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, default=100_000)
    parser.add_argument("--period", type=int, default=10, help="seconds between two heartbeats of a device")
    parser.add_argument("--connections", type=int, default=10_000, help="that wait in a poll")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=10, help="of a turn")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="corpgrid-bench.", dir="/var/tmp") as folder:
        with Scheduler(pathlib.Path(folder) / "beats") as scheduler:
            bytes_each, cores = heartbeats(scheduler, options)
        with Scheduler(pathlib.Path(folder) / "polls") as scheduler:
            connection_bytes = connections(scheduler, options)
    print(f"bytes-per-connection {connection_bytes:.0f} (with a pending poll)")
    print(f"bytes-per-device {bytes_each:.0f} (aim {AIM_BYTES})")
    print(f"cores-for-heartbeats {cores:.2f} (aim {AIM_CORES}; median of {options.turns})")


if __name__ == "__main__":
    main()
