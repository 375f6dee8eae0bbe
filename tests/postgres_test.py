"""The state in PostgreSQL: moved there from SQLite, and a server that comes and goes."""
import signal
import subprocess
import time

from grid import BIN, main, wait
from postgres import PostgresTest


class MoveTest(PostgresTest):
    def test_from_sqlite(self):
        """Jobs and results of a grid on SQLite are there on PostgreSQL, and new jobs run."""
        old = [self.run_ok(self.hello()) for _ in range(3)]
        waiting = self.grid.submit(self.hello(shards=40, seconds=0.5))
        wait(lambda: self.grid.job(waiting)["shards_done"] > 2, 30, "some shards to be done")
        state = self.grid.data / "scheduler/state.db"

        logged = self.grid.ok("audit", "verify").json()["entries"]
        in_use = self.grid.cli("store", "copy", state, self.url)
        self.assertEqual(in_use.code, 1, str(in_use))
        self.assertIn("in use", in_use.err)
        self.grid.terminate("scheduler")
        copied = self.grid.ok("store", "copy", state, self.url).json()
        rows = {table["name"]: table["rows"] for table in copied["tables"]}
        self.assertEqual(rows["jobs"], 4)
        self.assertGreaterEqual(rows["shard_results"], 3 * 4 * 2)
        again = self.grid.cli("store", "copy", state, self.url)
        self.assertEqual(again.code, 1, str(again))
        self.assertIn("not empty", again.err)

        state.unlink()  # nothing is read there any more
        self.grid.store = self.url
        self.grid.start_scheduler()
        self.assertEqual(self.grid.ok("job", "list").json()["jobs"][-1]["id"], old[0])
        self.assertEqual(self.grid.ok("audit", "verify").json()["kept_entries"], logged)
        for job_id in old:
            self.check(job_id)
        self.check(waiting, shards=40)
        self.check(self.run_ok(self.hello()))
        self.assertFalse(state.exists())


class OnPostgresTest(PostgresTest):
    def prepare(self):
        self.grid.store = self.url

    def test_kill_scheduler(self):
        """kill -9: what was acknowledged stays, work goes on."""
        jobs = []
        for _ in range(3):
            jobs.append(self.grid.submit(self.hello(shards=8, seconds=0.2)))
            self.grid.kill("scheduler")
            self.grid.start_scheduler()
        for job_id in jobs:
            self.check(job_id, shards=8)

    def test_server_restarts(self):
        """Calls fail while PostgreSQL is away, and nothing more."""
        job_id = self.grid.submit(self.hello(shards=20, seconds=0.2))
        for how in (signal.SIGINT, signal.SIGQUIT):
            self.postgres.stop(how)
            time.sleep(1)
            self.postgres.start()
        self.check(job_id, shards=20)
        self.assertIsNone(self.grid.running["scheduler"].poll())

    def test_a_deposed_scheduler_ends(self):
        """Whoever finds the lead taken says so and ends; agents find the one that has it."""
        scheduler = self.grid.running["scheduler"]
        self.postgres.psql("grid", "UPDATE leader SET token = token + 1, shown = token + 1")
        self.assertEqual(scheduler.wait(10), 1)
        self.assertIn("another scheduler leads", self.grid.tail("scheduler"))
        self.grid.running.pop("scheduler")
        self.grid.start_scheduler()
        self.check(self.grid.submit(self.hello()))

    def test_a_waiting_standby_stops_on_request(self):
        self.grid.spawn("standby", self.grid.scheduler_command("127.0.0.1:0"))
        wait(lambda: "standing by" in self.grid.tail("standby"), 10, "the standby to wait")
        self.grid.terminate("standby")

    def test_wrong_urls(self):
        for url, words in (("postgres://corpgrid@127.0.0.1:1/grid", "127.0.0.1"),
                           (self.url.replace("/grid?", "/missing?"), "does not exist"),
                           ("@/nonexistent/url", "no text in")):
            done = subprocess.run([str(BIN / "corpgrid"), "scheduler", "--data",
                                   str(self.grid.folder / "other"), "--listen", "127.0.0.1:0",
                                   "--store", url], capture_output=True, text=True, timeout=30)
            self.assertNotEqual(done.returncode, 0, url)
            self.assertIn(words, done.stderr, url)


if __name__ == "__main__":
    main()
