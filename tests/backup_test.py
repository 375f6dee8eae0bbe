"""A backup of a grid at work is a whole grid; a backup or restore that is killed leaves none that is half."""
import shutil
import subprocess
import time

from grid import BIN, GridTest, main, seeded, wait
from postgres import PostgresTest

LARGE = "head -c 300000 /dev/urandom > out; sleep 0.1"


class BackupTest(GridTest):
    agents = 2

    def large_job(self, shards=8):
        return self.grid.job_file(["sh", "-c", LARGE], shards=shards, outputs=["out"])

    def test_a_grid_at_work_goes_on_from_its_backup(self):
        grid = self.grid
        done = self.run_ok(self.large_job())
        results = grid.results(done)
        removed = self.run_ok(self.large_job())
        running = grid.submit(self.large_job(60))
        wait(lambda: grid.job(running)["shards_done"] > 5, 30, "the job to run")
        file = grid.folder / "grid.tar"
        removing = subprocess.Popen([BIN / "corpgrid", "job", "remove", str(removed), "--data",
                                     grid.data], stdout=subprocess.DEVNULL)
        report = grid.ok("backup", file).json()
        self.assertEqual(removing.wait(30), 0)
        self.assertEqual(file.stat().st_mode & 0o777, 0o600)
        self.assertEqual(report["bytes"], file.stat().st_size)
        at_backup = grid.job(running)["shards_done"]
        grid.wait_job(running)
        # The machine is lost but for the agents' folders.
        grid.kill("scheduler")
        shutil.rmtree(grid.data / "scheduler")
        restored = grid.folder / "restored"
        self.assertEqual(grid.ok("restore", file, data=restored).json()["jobs"], report["jobs"])
        self.assertEqual(grid.cli("restore", file, data=restored).code, 1)
        (restored / "scheduler").rename(grid.data / "scheduler")
        grid.start_scheduler()
        self.assertLess(grid.job(running)["shards_done"], 60)
        self.assertLessEqual(grid.job(running)["shards_done"], at_backup)
        grid.wait_job(running, 90)
        shutil.rmtree(grid.folder / f"results-{done}")
        self.assertEqual(grid.results(done), results)
        self.assertEqual(len(grid.results(running)), 60)
        self.assertEqual(len(grid.devices()), 2)

    def test_killed_at_any_moment_there_is_all_or_nothing(self):
        grid, random = self.grid, seeded()
        job = self.run_ok(self.large_job(30))
        whole = grid.folder / "whole.tar"
        grid.ok("backup", whole)
        outcomes = set()
        for number in range(30):
            backs_up = number % 2 == 0
            target = grid.folder / f"target-{number}"
            words = ["backup", target, "--data", grid.data] if backs_up else \
                ["restore", whole, "--data", target]
            process = subprocess.Popen([BIN / "corpgrid", *words], stdout=subprocess.DEVNULL)
            time.sleep(random.uniform(0, 0.6))
            process.kill()
            process.wait()
            outcomes.add((backs_up, target.exists()))
            if not target.exists():
                continue
            if backs_up:
                grid.ok("restore", target, data=grid.folder / f"checked-{number}")
            else:
                again = grid.folder / f"again-{number}.tar"
                self.assertEqual(grid.ok("backup", again, data=target).json()["jobs"], 1)
        print(f"(backup, whole): {sorted(outcomes)}", flush=True)
        self.assertEqual(len(grid.results(job)), 30)


class PostgresBackupTest(PostgresTest):
    def prepare(self):
        self.grid.store = self.url

    def test_a_grid_goes_on_in_another_database(self):
        grid = self.grid
        job = grid.submit(self.hello())
        self.check(job)
        file, restored = grid.folder / "grid.tar", grid.folder / "restored"
        refused = grid.cli("backup", file, "--store", self.url)
        self.assertEqual(refused.code, 1)
        self.assertIn("leads", refused.err)
        grid.kill("scheduler")
        wait(lambda: grid.cli("backup", file, "--store", self.url).code == 0, 20, "the lease to run out")
        grid.store = self.postgres.new_database("another")
        not_empty = grid.cli("restore", file, "--store", self.url, data=restored)
        self.assertNotEqual(not_empty.code, 0, str(not_empty))
        self.assertEqual(grid.ok("restore", file, "--store", grid.store, data=restored).json()["jobs"], 1)
        shutil.rmtree(grid.data / "scheduler")
        (restored / "scheduler").rename(grid.data / "scheduler")
        grid.start_scheduler()
        self.check(job)
        self.check(grid.submit(self.hello()))


if __name__ == "__main__":
    main()
