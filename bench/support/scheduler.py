"""A `corpgrid scheduler` to be measured, and the programs that keep it busy."""

import json
import os
import pathlib
import subprocess
import sys
import time

BIN = pathlib.Path(os.environ["CORPGRID_BIN"])
TICKS = os.sysconf("SC_CLK_TCK")


def said(process):
    """The next value that the process says in JSON, on one line or more."""
    text = ""
    for line in process.stdout:
        text += line
        try:
            return json.loads(text)
        except ValueError:  # more lines are to come
            continue
    sys.exit(f"{process.args[0].name} ended early: {text}")


def cpu_seconds(pid):
    """That a process and its children, while they live, have used, as the kernel counts them."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    children = [child for task in pathlib.Path(f"/proc/{pid}/task").iterdir()
                for child in (task / "children").read_text().split()]
    return (int(fields[11]) + int(fields[12])) / TICKS + sum(map(cpu_seconds, children))


class Scheduler:
    def __init__(self, folder, store=None):
        self.folder = folder
        folder.mkdir()
        self.log = open(folder / "scheduler.log", "w")
        command = [BIN / "corpgrid", "scheduler", "--data", folder, "--listen", "127.0.0.1:0"]
        if store:
            command += ["--store", store]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT)
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

    def cli(self, *args):
        out = subprocess.run([BIN / "corpgrid", *args, "--data", self.folder, "--json"],
                             capture_output=True, text=True, timeout=300)
        if out.returncode != 0:
            sys.exit(f"corpgrid {' '.join(map(str, args))} failed:\n{out.stdout}{out.stderr}")
        return json.loads(out.stdout)

    def token(self, uses):
        return self.cli("token", "create", "--owner", "bench", "--uses", str(uses))["token"]

    def cpu_seconds(self):
        return cpu_seconds(self.process.pid)

    def memory(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))
