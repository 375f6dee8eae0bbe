"""Two schedulers on one PostgreSQL: whatever becomes of the one that leads, the other one takes over."""
import json
import select
import signal
import socket
import subprocess
import threading
import time

from grid import BIN, main, wait
from postgres import PostgresTest, program

TAKEOVER_S = 5


class Proxy:
    """Forwards 127.0.0.1:port to a socket until it is cut: then all is silent, as behind a pulled plug."""

    def __init__(self, path):
        self.path, self.is_cut = str(path), threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.open = [self.listener]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            self.open += [near, far]
            if not self.is_cut.is_set():
                far.connect(self.path)
                threading.Thread(target=self.forward, args=(near, far), daemon=True).start()

    def forward(self, near, far):
        while not self.is_cut.is_set():
            for ready in select.select([near, far], [], [], 0.05)[0]:
                try:
                    data = ready.recv(1 << 16)
                    if data and not self.is_cut.is_set():
                        (far if ready is near else near).sendall(data)
                except OSError:
                    data = b""
                if not data:
                    near.close()
                    far.close()
                    return

    def close(self):
        self.is_cut.set()
        for each in self.open:
            each.close()


class Submitter:
    """Submits jobs one after the other, and keeps the ids of those that were acknowledged."""

    def __init__(self, grid, file):
        self.grid, self.file = grid, file
        self.acknowledged, self.refused = {}, []
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        number = 0
        while not self.ending.is_set():
            number += 1
            reply = self.grid.cli("job", "submit", self.file, "--key", f"key {number}")
            if reply.code == 0:
                self.acknowledged[number] = reply.json()["job_id"]
            else:
                self.refused.append(reply.err)
                time.sleep(0.1)

    def end(self):
        self.ending.set()
        self.thread.join()
        return self.acknowledged


class TakeoverTest(PostgresTest):
    def prepare(self):
        self.grid.store = self.url

    def start_standby(self, follows=True):
        """A second scheduler, with the same data folder and address; that has the state in memory, or not yet."""
        self.follows = follows
        self.standby = self.grid.spawn("standby", self.grid.scheduler_command(self.grid.address))
        said = "standing by with the grid's state in memory" if follows else "standing by"
        wait(lambda: said in self.grid.tail("standby"), 30, "the standby to wait")

    def await_takeover(self, since, heal=lambda: None):
        def leads():
            self.assertIsNone(self.standby.poll(), self.grid.tail("standby"))
            return json.loads((self.grid.data / "grid.json").read_text())["pid"] == self.standby.pid
        wait(leads, 20, "the standby to lead", pause=0.02)
        heal()  # Else what clients try again may make the new leader wait for the same.
        self.grid.ok("job", "list")
        took = time.monotonic() - since
        print(f"{self.id().split('.')[-1]}: the standby answered after {took:.1f} s", flush=True)
        self.assertLess(took, TAKEOVER_S)
        if self.follows:
            self.assertNotIn("the state is read as a whole", self.grid.tail("standby"))

    def take_over_from(self, harm, heal=lambda: None):
        """Harms the leader; the standby takes over, and everything acknowledged is there."""
        leader = self.grid.running.pop("scheduler")
        self.addCleanup(leader.kill)
        old = [self.grid.submit(self.hello(shards=12, seconds=0.3)) for _ in range(2)]
        logged = self.grid.ok("audit", "verify").json()
        submitter = Submitter(self.grid, self.hello(shards=1))
        self.addCleanup(submitter.end)
        wait(lambda: len(submitter.acknowledged) > 2, 20, "some jobs to be submitted")
        since = time.monotonic()
        harm(leader)
        self.await_takeover(since, heal)
        before = len(submitter.acknowledged)
        wait(lambda: len(submitter.acknowledged) > before + 2, 60, "new jobs to be taken")
        acknowledged = submitter.end()
        self.grid.running["scheduler"] = self.grid.running.pop("standby")
        for job_id in old:
            self.check(job_id, shards=12)
        for number, job_id in acknowledged.items():
            again = self.grid.ok("job", "submit", submitter.file, "--key", f"key {number}").json()
            self.assertEqual(again["job_id"], job_id, f"job of key {number}")
            self.check(job_id, shards=1)
        self.assertEqual(leader.wait(5), -signal.SIGKILL)
        again = self.grid.ok("audit", "verify").json()
        self.assertEqual((again["kept_entries"], again["key"]), (logged["entries"], logged["key"]))
        entries = self.grid.ok("audit", "list", "--from", 0, "--limit", 1000).json()["entries"]
        terms = [row["entry"]["term"] for row in entries if row["entry"]["event"] == "scheduler started"]
        self.assertEqual(len(terms), 2)
        self.assertLess(terms[0], terms[1])


class KilledTest(TakeoverTest):
    def test_killed(self):
        self.start_standby()
        self.take_over_from(lambda leader: leader.kill())


class StoppedTest(TakeoverTest):
    def test_stopped(self):
        """A leader that sleeps is killed before the next one works on its objects."""
        self.start_standby(follows=False)
        self.take_over_from(lambda leader: leader.send_signal(signal.SIGSTOP))
        self.assertIn("which led this grid before", self.grid.tail("standby"))

    def test_stopped_in_a_transaction(self):
        """Its commit waits in the database for a lock, and holds the leader's row meanwhile."""
        self.start_standby()
        other = subprocess.Popen([program("psql"), "-XAtq", "-h", self.postgres.folder, "-U",
                                  "corpgrid", "grid"], stdin=subprocess.PIPE, text=True)
        self.addCleanup(other.wait)
        self.addCleanup(other.kill)

        def stop(leader):
            other.stdin.write("BEGIN; LOCK TABLE jobs IN SHARE MODE;\n")
            other.stdin.flush()
            wait(self.leader_waits_for_a_lock, 20, "a commit to wait")
            leader.send_signal(signal.SIGSTOP)
        self.take_over_from(stop, heal=lambda: other.communicate("ROLLBACK;\n", timeout=10))

    def leader_waits_for_a_lock(self):
        return self.postgres.psql("grid", "SELECT 1 FROM pg_stat_activity a JOIN leader l ON a.pid = "
                                  "l.backend_pid WHERE a.wait_event_type = 'Lock' AND "
                                  "a.wait_event = 'relation'").stdout

    def test_woken_after_it_was_deposed(self):
        """As by a scheduler that has another data folder: it refuses what had been sent to it, and ends."""
        leader = self.grid.running.pop("scheduler")
        file = self.hello()
        kept = self.grid.submit(file)
        leader.send_signal(signal.SIGSTOP)
        late = subprocess.Popen([str(BIN / "corpgrid"), "job", "submit", str(self.hello()), "--data",
                                 str(self.grid.data)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True)
        self.postgres.psql("grid", "UPDATE leader SET token = token + 1, shown = token + 1")
        time.sleep(1)
        leader.send_signal(signal.SIGCONT)
        self.assertEqual(leader.wait(10), 1)
        self.assertIn("another scheduler leads", self.grid.tail("scheduler"))
        _, complaint = late.communicate(timeout=60)
        self.assertNotEqual(late.returncode, 0, complaint)
        self.grid.start_scheduler()
        self.assertEqual([job["id"] for job in self.grid.ok("job", "list").json()["jobs"]], [kept])
        self.check(kept)


class CutOffTest(TakeoverTest):
    def prepare(self):
        self.proxy = Proxy(self.postgres.folder / ".s.PGSQL.5432")
        self.addCleanup(self.proxy.close)
        self.grid.store = f"postgres://corpgrid@127.0.0.1:{self.proxy.port}/grid"

    def test_cut_off(self):
        """A leader that the database does not hear any more is killed, too."""
        self.grid.store = self.url
        self.start_standby()
        self.take_over_from(lambda leader: self.proxy.is_cut.set())
        self.assertIn("which led this grid before", self.grid.tail("standby"))

    def test_cut_off_alone(self):
        """Nobody is told what may be old: not even that all is as it was."""
        self.grid.ok("job", "list")
        self.proxy.is_cut.set()
        time.sleep(4)
        reply = self.grid.cli("device", "list", timeout=60)
        self.assertNotEqual(reply.code, 0, str(reply))
        self.assertIn("no call is answered for now", self.grid.tail("scheduler"))
        self.grid.kill("scheduler")
        self.grid.store = self.url
        self.grid.start_scheduler()


if __name__ == "__main__":
    main()
