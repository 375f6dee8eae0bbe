"""Jobs that ended go: when a person says so, or when their time is over; with all that they kept."""
from grid import BIN, GridTest, main, wait

LARGE = 'head -c 3000000 /dev/urandom > out; echo {shard} > small'


class KeepTest(GridTest):
    agents = 1
    keep_jobs = "30d"

    def prepare(self):
        grid = self.grid
        grid.scheduler_command = lambda listen: [
            BIN / "corpgrid", "scheduler", "--data", grid.data, "--listen", listen,
            "--keep-jobs", self.keep_jobs]

    def chunks(self):
        return sum(path.is_file() for path in (self.grid.data / "scheduler/objects/chunks")
                   .rglob("*"))

    def listed(self):
        return [job["id"] for job in self.grid.ok("job", "list").json()["jobs"]]

    def large_job(self):
        return self.grid.job_file(["sh", "-c", LARGE], shards=4, outputs=["out", "small"])


class RetentionTest(KeepTest):
    def test_a_removed_job_is_gone_although_the_scheduler_is_killed(self):
        first, second = self.run_ok(self.large_job()), self.run_ok(self.large_job())
        kept = self.chunks()
        self.assertGreaterEqual(kept, 8)
        self.assertEqual(self.grid.ok("job", "remove", first).json(), {"removed": [first]})
        self.grid.kill("scheduler")
        self.grid.start_scheduler()
        self.assertEqual(self.listed(), [second])
        self.assertEqual(self.grid.cli("job", "show", first).code, 1)
        wait(lambda: self.chunks() <= kept / 2, 20, "the first job's results to be deleted")
        self.assertEqual(len(self.grid.results(second)), 8)
        self.grid.ok("job", "remove", second, first)  # the second again, as after a lost answer
        wait(lambda: self.chunks() == 0, 20, "all results to be deleted")
        self.assertEqual(self.listed(), [])
        events = [row["entry"]["event"] for row in self.grid.ok("audit", "list").json()["entries"]]
        self.assertEqual(events.count("job removed"), 2)
        self.grid.ok("audit", "verify")

    def test_a_job_that_runs_is_not_removed(self):
        job = self.grid.submit(self.grid.job_file(["sleep", "60"]))
        reply = self.grid.cli("job", "remove", job)
        self.assertEqual(reply.code, 1)
        self.assertIn(f"`corpgrid job cancel {job}` ends it", reply.out + reply.err)
        self.grid.ok("job", "cancel", job)


class ShortRetentionTest(KeepTest):
    keep_jobs = "3s"

    def test_a_job_goes_when_its_time_is_over(self):
        self.grid.submit(self.large_job())
        wait(lambda: self.chunks() > 0, 20, "results to come")
        wait(lambda: self.listed() == [] and self.chunks() == 0, 60, "the job to go by itself")


if __name__ == "__main__":
    main()
