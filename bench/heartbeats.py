"""What devices without work cost the scheduler: heartbeats of 100,000 of them, and 10,000 connections that wait.

The devices are identities of their own; their heartbeats come over a few connections (`bench_fleet`), so the first
figures are those of the scheduler and its core, the last one that of gRPC's connections. CPU time and memory are the
scheduler process's, as the kernel counts them.
"""

import argparse
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from support.scheduler import BIN, Scheduler, said

AIM_CORES, AIM_BYTES = 0.5, 4096


def fleet(scheduler, mode, devices, *args):
    return subprocess.Popen([BIN / "bench_fleet", mode, scheduler.address, scheduler.token(devices),
                             str(devices), *map(str, args)], stdout=subprocess.PIPE, text=True)


def heartbeats(scheduler, options):
    before = scheduler.memory()
    devices = fleet(scheduler, "heartbeats", options.devices, options.period * 1000,
                    options.seconds * options.turns)
    joined = said(devices)
    bytes_each = (scheduler.memory() - before) / options.devices
    print(f"{joined['registered']} devices joined in {joined['seconds']:.0f} s")
    cores = []
    for _ in range(options.turns):
        cpu, start = scheduler.cpu_seconds(), time.monotonic()
        time.sleep(options.seconds * 0.95)
        cores.append((scheduler.cpu_seconds() - cpu) / (time.monotonic() - start))
    sent = said(devices)
    devices.wait()
    rate = sent["heartbeats"] / sent["seconds"]
    print(f"{rate:.0f} heartbeats/s, 99 % answered within {sent['p99_ms']:.1f} ms of when they were due")
    wanted = options.devices / options.period
    if rate < 0.95 * wanted:
        sys.exit(f"this machine cannot send {wanted:.0f} heartbeats/s: the figures would flatter")
    return bytes_each, statistics.median(cores)


def connections(scheduler, options):
    before = scheduler.memory()
    devices = fleet(scheduler, "polls", options.connections, 5)
    said(devices)
    time.sleep(3)
    after = scheduler.memory()
    pending = said(devices)["pending"]
    devices.wait()
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
