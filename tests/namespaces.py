"""Mounts and networks that only the test sees, and that are gone with it."""
import ctypes
import os
import subprocess
import sys

from grid import AS_ROOT

LIBC = ctypes.CDLL(None, use_errno=True)
PR_CAP_AMBIENT, RAISE, CLEAR_ALL = 47, 2, 4
CAP_NET_ADMIN, CAP_SYS_ADMIN = 12, 21
CLONE_NEWNET = 0x40000000


def enter_namespace(kind):
    """Starts this program again in a namespace of its own: "m" where it may mount, "n" with a network."""
    if "CORPGRID_TEST_NAMESPACE" not in os.environ:
        os.environ["CORPGRID_TEST_NAMESPACE"] = "1"
        how = [f"-{kind}"] if AS_ROOT else [f"-U{kind}", "--map-current-user", "--keep-caps"]
        os.execvp("unshare", ["unshare", *how, sys.executable, *sys.argv])
    elif not AS_ROOT:
        # What this program starts needs none of the capabilities; it keeps them itself.
        LIBC.prctl(PR_CAP_AMBIENT, CLEAR_ALL, 0, 0, 0)


def lend_capabilities():
    """In a child before its exec: what ip(8) and unshare(1) need."""
    if not AS_ROOT:
        for capability in (CAP_NET_ADMIN, CAP_SYS_ADMIN):
            LIBC.prctl(PR_CAP_AMBIENT, RAISE, capability, 0, 0)


class Network:
    """A network namespace with a process that holds it; without one, this program's own."""

    def __init__(self, own=True):
        self.process = None if own else subprocess.Popen(
            ["unshare", "-n", "sh", "-c", "echo; exec sleep 3600"], stdout=subprocess.PIPE,
            preexec_fn=lend_capabilities)
        if self.process:
            self.process.stdout.read(1)  # it is there
        self.handle = open(f"/proc/{self.process.pid if self.process else 'self'}/ns/net", "rb")
        # Programs talk to 127.0.0.0/8 only: here these addresses may be those of other machines.
        self.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet")
        self.ip("link set lo up")

    def enter(self):
        """In a child before its exec."""
        if LIBC.setns(self.handle.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "cannot enter the network")

    def run(self, *command):
        def prepare():
            self.enter()
            lend_capabilities()
        subprocess.run(command, check=True, preexec_fn=prepare)

    def ip(self, words):
        self.run("ip", *words.split())

    def close(self):
        self.handle.close()
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
