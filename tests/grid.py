"""A grid of real processes in a folder of its own, for the tests beside this file.

CORPGRID_BIN names the folder with the programs. This process adopts every orphan, so that whatever
the grid leaves running is found as a descendant, zombies included.
"""
import ctypes
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

BUILD = pathlib.Path(__file__).resolve().parent.parent / "build/release"
BIN = pathlib.Path(os.environ.get("CORPGRID_BIN", BUILD)).resolve()
AS_ROOT = os.geteuid() == 0
PR_SET_CHILD_SUBREAPER = 36
LOG_TAIL = 6000  # bytes of each log that a failed test shows

ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def seeded():
    """A source of randomness whose seed is printed; CORPGRID_SEED repeats a run."""
    seed = int(os.environ.get("CORPGRID_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"CORPGRID_SEED={seed}", flush=True)
    return random.Random(seed)


def wait(predicate, seconds, what, pause=0.05):
    """Waits until predicate() is true and returns its value; fails after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain for {what}")
        time.sleep(pause)


class Proc:
    """One line of the process table."""

    def __init__(self, pid):
        self.pid = pid
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text(errors="replace")
        fields = stat[stat.rindex(")") + 2:].split()
        self.name = stat[stat.index("(") + 1:stat.rindex(")")]
        self.state, self.parent, self.started = fields[0], int(fields[1]), fields[19]

    def command(self):
        try:
            raw = pathlib.Path(f"/proc/{self.pid}/cmdline").read_bytes()
            return raw.replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            return ""

    def alive(self):
        """Whether this very process still runs; a zombie does not."""
        try:
            now = Proc(self.pid)
        except (OSError, ValueError):
            return False
        return now.started == self.started and now.state not in "ZX"

    def __str__(self):
        return f"{self.pid} {self.state} child of {self.parent}: {self.command() or self.name}"


def processes():
    table = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                table[int(entry)] = Proc(int(entry))
            except (OSError, ValueError):
                pass  # it ended meanwhile
    return table


def descendants(pid):
    table = processes()
    children = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process)
    found, todo = [], [pid]
    while todo:
        for process in children.get(todo.pop(), []):
            found.append(process)
            todo.append(process.pid)
    return found


def heeds_sigterm(pid):
    """Whether it blocks, catches or ignores the signal, or is a zombie."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    masks = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("SigBlk", "SigIgn", "SigCgt"))]
    return not masks or any(mask >> (signal.SIGTERM - 1) & 1 for mask in masks)


def reap_orphans(known):
    """Waits for the zombies that came to us when their parents died."""
    for process in descendants(os.getpid()):
        if process.parent == os.getpid() and process.state == "Z" and process.pid not in known:
            try:
                os.waitpid(process.pid, os.WNOHANG)
            except ChildProcessError:
                pass


class Reply:
    """What a CLI call said."""

    def __init__(self, done, args):
        self.code, self.out, self.err, self.args = done.returncode, done.stdout, done.stderr, args

    def json(self):
        try:
            return json.loads(self.out)
        except ValueError as error:
            raise AssertionError(f"no JSON: {self}") from error

    def __str__(self):
        return f"corpgrid {' '.join(map(str, self.args))} -> {self.code}\n{self.out}{self.err}"


WATCHDOG = "while read pid; do pids=\"$pids -$pid\"; done; kill -9 $pids"


class Grid:
    """A scheduler and agents, each a process of its own that tests may kill and start again."""

    def __init__(self, agents=3, slots=2):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="corpgrid-test.", dir="/var/tmp"))
        self.folder.chmod(0o711)  # agents that start as root become users who must pass here
        self.data = self.folder / "grid"
        self.data.mkdir(mode=0o711)
        self.agents, self.slots = agents, slots
        self.running = {}  # name -> Popen
        self.bins = {}  # name -> the folder with its programs, where that is another than BIN
        self.envs = {}  # name -> its environment, beside ours
        self.networks = {}  # name -> the Network that it is in, where that is another than ours
        self.adopted = []  # what else the test runs, with its Popen as .process
        # Ends the daemons' groups when this process is killed, which closes the pipe.
        self.watchdog = subprocess.Popen(["/bin/sh", "-c", WATCHDOG], stdin=subprocess.PIPE,
                                         start_new_session=True)
        self.address = None
        self.jobs_made = 0
        self.logs = ""

    def start(self):
        self.start_scheduler()
        for number in range(1, self.agents + 1):
            self.start_agent(f"agent-{number}", f"owner-{number}")
        wait(lambda: len(self.devices()) >= self.agents, 30, "the agents to register")
        return self

    def program(self, name):
        """The program that runs as `name`: a daemon's, or "cli"."""
        return self.bins.get(name, BIN) / "corpgrid"

    def spawn(self, name, args, env=None):
        network = self.networks.get(name)
        with open(self.folder / f"{name}.log", "ab") as log:
            self.running[name] = subprocess.Popen(
                [str(arg) for arg in args], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **self.envs.get(name, {}), **(env or {})},
                start_new_session=True, preexec_fn=network and network.enter)
        self.watchdog.stdin.write(b"%d\n" % self.running[name].pid)
        self.watchdog.stdin.flush()
        return self.running[name]

    def scheduler_command(self, listen, name="scheduler"):
        return [self.program(name), "scheduler", "--data", self.data, "--listen", listen]

    def start_scheduler(self):
        process = self.spawn("scheduler", self.scheduler_command(self.address or "127.0.0.1:0"))

        def up():
            if process.poll() is not None:
                raise AssertionError(f"the scheduler ended with {process.returncode}\n"
                                     + self.tail("scheduler"))
            try:
                grid = json.loads((self.data / "grid.json").read_text())
            except (OSError, ValueError):
                return None
            return grid if grid["pid"] == process.pid else None

        self.address = wait(up, 30, "the scheduler to start", pause=0.02)["address"]

    def start_agent(self, name, owner=None):
        """Starts an agent; with an owner it joins, without it is one that ran before."""
        args = [self.program(name), "agent", "--data", self.agent_folder(name), "--scheduler",
                self.address, "--name", name, "--slots", self.slots]
        env = {}
        if owner:
            self.agent_folder(name).parent.mkdir(mode=0o711, exist_ok=True)
            args += ["--trust", self.key()]
            env["CORPGRID_JOIN"] = self.token(owner)
        return self.spawn(name, args, env)

    def agent_folder(self, name):
        return self.data / "agents" / name

    def token(self, owner):
        return self.ok("token", "create", "--owner", owner).json()["token"]

    def key(self):
        return self.ok("key", "show").json()["submitter_key"]

    def kill(self, name):
        """kill -9 and, for what was in its hands, the proof that it ends as well."""
        process = self.running.pop(name)
        below = descendants(process.pid)
        process.kill()
        process.wait()
        return below

    def terminate(self, name, seconds=10):
        process = self.running.pop(name)
        # One that was started a moment ago ends by the signal, as any program does.
        wait(lambda: process.poll() is not None or heeds_sigterm(process.pid), 30, f"{name} to heed signals")
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"{name} did not stop within {seconds} s") from None
        if process.returncode != 0:
            raise AssertionError(f"{name} ended with {process.returncode}\n" + self.tail(name))

    def stop(self):
        """Stops agents, then the scheduler, and checks that nothing is left running."""
        self.check_zombies()
        for name in sorted(self.running):  # "agent-…" before "scheduler"
            self.terminate(name)
        self.check_nothing_left()

    def check_zombies(self):
        """No daemon leaves its dead children unburied for long."""
        def unburied():
            reap_orphans(self.pids())
            return [str(p) for p in descendants(os.getpid())
                    if p.state == "Z" and p.parent != os.getpid()]
        first = unburied()
        if first:
            wait(lambda: not set(first) & set(unburied()), 15, f"zombies to go: {first}")

    def check_nothing_left(self, seconds=5):
        def left():
            reap_orphans(self.pids())
            others = {p.pid for a in self.adopted for p in descendants(a.process.pid)}
            return [str(p) for p in descendants(os.getpid()) if p.pid not in self.pids() | others]
        try:
            wait(lambda: not left(), seconds, "everything to end")
        except AssertionError:
            raise AssertionError("left running:\n" + "\n".join(left())) from None

    def pids(self):
        others = [adopted.process for adopted in self.adopted]
        return {process.pid for process in [self.watchdog, *others, *self.running.values()]}

    def close(self):
        """Ends whatever still runs, keeps the ends of the logs, removes the folder."""
        self.logs = "\n".join(self.tail(log.stem) for log in sorted(self.folder.glob("*.log")))
        for process in [self.watchdog, *self.running.values()]:
            process.kill()
            process.wait()
        self.watchdog.stdin.close()
        for process in descendants(os.getpid()):
            if process.state != "Z":
                os.kill(process.pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def tail(self, name):
        log = self.folder / f"{name}.log"
        text = log.read_text(errors="replace")[-LOG_TAIL:] if log.exists() else ""
        return f"--- {log.name}\n{text}"

    def cli(self, *args, timeout=60, stdin=None, env=None, data=None, json_output=True):
        """Runs a command; with --json unless told otherwise."""
        words = [*args, "--data", data or self.data] + (["--json"] if json_output else [])
        done = subprocess.run([str(self.program("cli")), *map(str, words)], input=stdin, text=True,
                              capture_output=True, timeout=timeout, errors="replace",
                              env={**os.environ, **self.envs.get("cli", {}), **(env or {})})
        return Reply(done, words)

    def ok(self, *args, **options):
        reply = self.cli(*args, **options)
        if reply.code != 0:
            raise AssertionError(str(reply))
        return reply

    def job_file(self, command, shards=1, outputs=(), bundle=None, **fields):
        """Writes a job file (JSON is YAML) and its bundle {name: text}; returns the file."""
        self.jobs_made += 1
        folder = self.folder / f"job-{self.jobs_made}"
        folder.mkdir()
        spec = {"name": f"job-{self.jobs_made}", "run": {"command": command},
                "outputs": list(outputs), "resources": {"memory": "64MiB"}, **fields}
        if "inputs" not in fields:
            spec["shards"] = shards
        if bundle:
            (folder / "bundle").mkdir()
            spec["bundle"] = "./bundle"
            for name, text in bundle.items():
                path = folder / "bundle" / name
                path.write_bytes(text if isinstance(text, bytes) else text.encode())
                path.chmod(0o755)
        file = folder / "job.yaml"
        file.write_text(json.dumps(spec, indent=1))
        return file

    def submit(self, file, key=None):
        return self.ok("job", "submit", file, *(["--key", key] if key else [])).json()["job_id"]

    def job(self, job_id):
        return self.ok("job", "show", job_id).json()

    def shards(self, job_id):
        return self.ok("job", "show", job_id, "--shards").json()["shard_list"]

    def wait_job(self, job_id, seconds=60, state="done"):
        """Waits for a job's end, which must be `state`; returns the job."""
        job = wait(lambda: (lambda j: j["finished_wall_ms"] and j)(self.job(job_id)), seconds,
                   f"job {job_id} to end", pause=0.1)
        if job["state"] != state:
            raise AssertionError(f"job {job_id} is {job['state']}, not {state}: {job['error']}")
        return job

    def results(self, job_id):
        """{path below the results folder: bytes}."""
        folder = self.folder / f"results-{job_id}"
        self.ok("job", "results", job_id, "--out", folder)
        return {str(path.relative_to(folder)): path.read_bytes()
                for path in folder.rglob("*") if path.is_file()}

    def devices(self):
        return self.ok("device", "list").json()["devices"]

    def device(self, name):
        return next(device for device in self.devices() if device["info"]["name"] == name)

    def check_accepted_once(self, job_id, quorum):
        """Each shard is done by exactly `quorum` agreeing attempts of as many owners."""
        seen = set()
        for shard in self.shards(job_id):
            agreed = [a for a in shard["attempts"] if a["state"] == "agreed"]
            where = f"job {job_id} shard {shard['index']}: {shard}"
            assert shard["state"] == "done", where
            assert len(agreed) == quorum, where
            assert len({a["owner"] for a in agreed}) == quorum, where
            assert all(a["outputs"] == shard["outputs"] for a in agreed), where
            ids = [a["id"] for a in shard["attempts"]]
            assert len(set(ids)) == len(ids) and not seen & set(ids), where
            seen.update(ids)


class GridTest(unittest.TestCase):
    """A test with a grid of its own; a failure shows what the daemons said."""
    agents, slots = 3, 2

    def run(self, result=None):
        self.grid = None
        troubles = len(result.failures) + len(result.errors)
        super().run(result)
        if self.grid and len(result.failures) + len(result.errors) > troubles:
            print(f"=== {self.id()}\n{self.grid.logs}", file=sys.stderr, flush=True)

    def setUp(self):
        self.grid = Grid(self.agents, self.slots)
        self.addCleanup(self.grid.close)
        self.prepare()
        self.grid.start()

    def prepare(self):
        """For what has to be there before the daemons start."""

    def tearDown(self):
        self.grid.stop()

    def run_ok(self, file, seconds=60):
        """Submits a job that must end well; returns its id."""
        job_id = self.grid.submit(file)
        self.grid.wait_job(job_id, seconds)
        return job_id


def main():
    for program in ("corpgrid", "corpgrid-runner"):
        if not os.access(BIN / program, os.X_OK):
            sys.exit(f"{BIN / program} is missing: set CORPGRID_BIN to the build folder")
    unittest.main(verbosity=2)
