"""A full disk under object store and database: clear errors, nothing acknowledged is lost."""
import os
import time

from grid import GridTest, main, seeded, wait
from namespaces import enter_namespace
from small_disk import CLEAR, SmallDisk

SIZE = "24m"


class DiskFullTest(GridTest):
    agents, slots = 2, 1

    def prepare(self):
        folder = self.grid.data / "scheduler"
        folder.mkdir(mode=0o700)
        self.disk = SmallDisk(folder, SIZE)
        self.addCleanup(self.disk.unmount)

    def job_of(self, kib=0, seconds=0, **fields):
        """A job with a bundle and outputs that do not compress or repeat."""
        bundle = {"noise": os.urandom(kib << 10)} if kib else None
        return self.grid.job_file(["sh", "-c", f"sleep {seconds}; echo fine {{shard}} > out"],
                                  outputs=["out"], bundle=bundle, **fields)

    def check(self, job_id, shards):
        self.grid.wait_job(job_id, 60)
        self.assertEqual(self.grid.results(job_id),
                         {f"{i}/out": f"fine {i}\n".encode() for i in range(shards)})

    def test_clear_errors_and_nothing_lost(self):
        running = self.grid.submit(self.job_of(seconds=2, shards=6))
        wait(lambda: self.grid.job(running)["attempts_running"], 10, "the job to run")
        self.disk.fill()
        big = self.grid.cli("job", "submit", self.job_of(kib=2048), "--key", "big")
        self.assertEqual(big.code, 1, str(big))
        self.assertRegex(big.err, CLEAR)

        acknowledged, refused = {}, None
        for i in range(300):  # the last free bytes within SQLite's files
            reply = self.grid.cli("job", "submit", self.job_of(), "--key", f"small-{i}")
            if reply.code != 0:
                refused = reply
                break
            acknowledged[f"small-{i}"] = reply.json()["job_id"]
        self.assertIsNotNone(refused, "300 jobs fitted on a full disk")
        self.assertEqual(refused.code, 1, str(refused))
        self.assertRegex(refused.err, CLEAR)
        time.sleep(3)  # results come in meanwhile, and find no room either
        self.assertIsNone(self.grid.running["scheduler"].poll(), "the scheduler gave up")
        self.assertEqual(self.grid.job(running)["id"], running)

        self.disk.free()
        self.check(running, 6)
        for job_id in acknowledged.values():
            self.check(job_id, 1)
        big_id = self.grid.submit(self.job_of(kib=2048), key="big-2")
        self.check(big_id, 1)

    def test_random_fillings_and_restarts(self):
        random = seeded()
        acknowledged = {}
        for i in range(8):
            self.disk.fill(leave_kib=random.choice([0, 4, 16, 64, 200, 700]))
            for j in range(3):
                file = self.job_of(kib=random.choice([0, 0, 40, 300]), shards=2)
                reply = self.grid.cli("job", "submit", file, "--key", f"{i}-{j}")
                if reply.code == 0:
                    acknowledged[f"{i}-{j}"] = reply.json()["job_id"]
                else:
                    self.assertRegex(reply.err, CLEAR)
            if random.random() < 0.5:
                self.grid.kill("scheduler")
                self.disk.free()
                self.grid.start_scheduler()
            else:
                time.sleep(random.uniform(0, 1))
                self.disk.free()
        self.assertGreater(len(acknowledged), 0)
        for job_id in acknowledged.values():
            self.check(job_id, 2)
        listed = self.grid.ok("job", "list", "--limit", 1000).json()["jobs"]
        self.assertLessEqual(set(acknowledged.values()), {job["id"] for job in listed})
        self.assertEqual(len(set(acknowledged.values())), len(acknowledged))

    def test_start_on_a_full_disk(self):
        """It starts, or says why it cannot; with space again it does."""
        job_id = self.grid.submit(self.job_of(seconds=1, shards=2))
        self.grid.kill("scheduler")
        self.disk.fill()
        process = None
        try:
            self.grid.start_scheduler()
            process = self.grid.running["scheduler"]
        except AssertionError as error:
            self.grid.running.pop("scheduler")
            self.assertRegex(str(error), CLEAR)
        self.disk.free()
        if process is None or process.poll() is not None:
            self.grid.running.pop("scheduler", None)
            self.grid.start_scheduler()
        self.check(job_id, 2)


if __name__ == "__main__":
    enter_namespace("m")
    main()
