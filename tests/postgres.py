"""A PostgreSQL server of Debian's package in a folder of its own, reached through a socket in it."""
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile

from grid import AS_ROOT, Grid, GridTest, wait


def program(name):
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else name


class Postgres:
    """Runs as the user postgres where root starts it; stopped should this process die."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="corpgrid-postgres.", dir="/var/tmp"))
        self.folder.chmod(0o711)
        self.data, self.log = self.folder / "data", self.folder / "log"
        self.process = None
        self.user = ["setpriv", "--pdeathsig", "QUIT"]
        if AS_ROOT:
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self.user += [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        subprocess.run([*self.user, program("initdb"), "-D", self.data, "-U", "corpgrid", "-A", "trust",
                        "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"],
                       check=True, cwd="/", stdout=subprocess.DEVNULL)

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*self.user, program("postgres"), "-D", self.data, "-k", self.folder, "-c",
                 "listen_addresses="], cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait(lambda: self.psql("postgres", "SELECT 1", check=False).returncode == 0, 60,
             "PostgreSQL to start")
        return self

    def stop(self, how=signal.SIGINT):
        """SIGINT ends sessions and shuts down, SIGQUIT stops as a crash does."""
        if self.process:
            self.process.send_signal(how)
            self.process.wait()
            self.process = None

    def close(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def psql(self, database, sql, check=True):
        return subprocess.run([program("psql"), "-XAtq", "-h", self.folder, "-U", "corpgrid", database,
                               "-c", sql], check=check, capture_output=True, text=True)

    def new_database(self, name):
        """Makes an empty database and returns its URL."""
        self.psql("postgres", f"CREATE DATABASE {name}")
        return f"postgres://corpgrid@/{name}?host={self.folder}"


class PostgresGrid(Grid):
    """A grid whose schedulers are given a store; None: SQLite in the data folder."""
    store = None

    def scheduler_command(self, listen, name="scheduler"):
        command = super().scheduler_command(listen, name)
        return command + (["--store", self.store] if self.store else [])


class PostgresTest(GridTest):
    def setUp(self):
        self.postgres = Postgres()
        self.addCleanup(self.postgres.close)
        self.url = self.postgres.start().new_database("grid")
        self.grid = PostgresGrid(self.agents, self.slots)
        self.grid.adopted.append(self.postgres)
        self.addCleanup(self.grid.close)
        self.prepare()
        self.grid.start()

    def tearDown(self):
        self.grid.stop()
        self.postgres.stop()

    def hello(self, shards=4, seconds=0):
        return self.grid.job_file(["sh", "-c", f"sleep {seconds}; echo shard {{shard}} > out"],
                                  shards=shards, outputs=["out"],
                                  redundancy={"replicas": 2, "quorum": 2})

    def check(self, job_id, shards=4):
        self.grid.wait_job(job_id, 60)
        self.grid.check_accepted_once(job_id, quorum=2)
        self.assertEqual(self.grid.results(job_id),
                         {f"{i}/out": f"shard {i}\n".encode() for i in range(shards)})
