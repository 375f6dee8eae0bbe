"""A PostgreSQL server of Debian's package in a folder of its own, reached through a socket in it."""
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile

from grid import AS_ROOT, wait


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
