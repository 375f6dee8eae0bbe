"""kill -9 of the scheduler in mid-job and in mid-submit: what it acknowledged stays."""
import subprocess
import time

from grid import BIN, main, seeded, wait
from storm import StormTest


class KillSchedulerTest(StormTest):
    pause = 0.3

    def test_storm(self):
        def agreed():
            return sum(device["results_agreed"] for device in self.grid.devices())

        def strike(random):
            # Agents return to it within seconds: most strikes wait until results come in again.
            before, end = agreed(), time.monotonic() + 3
            while random.random() < 0.97 and agreed() == before and time.monotonic() < end:
                time.sleep(0.03)
            self.grid.kill("scheduler")
            time.sleep(random.choice([0, 0, 0.2, 0.5]))
            self.grid.start_scheduler()
            return 1
        self.storm(strike)

    def test_submit_again_with_the_same_key(self):
        """However a submit is cut off, at either end, its key makes one job when it is repeated."""
        random = seeded()
        file = self.grid.job_file(["sh", "-c", "test -s big && echo good > out"], outputs=["out"],
                                  bundle={"big": random.randbytes(8 << 20)})
        jobs, failed = [], 0
        for i in range(12):
            submit = subprocess.Popen([str(BIN / "corpgrid"), "job", "submit", str(file), "--key",
                                       f"key-{i}", "--json", "--data", str(self.grid.data)],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(random.uniform(0, 0.3))
            self.grid.kill("scheduler")
            if i % 2:
                submit.kill()
            self.grid.start_scheduler()
            failed += submit.wait(60) != 0
            answers = {self.grid.submit(file, key=f"key-{i}") for _ in range(2)}
            self.assertEqual(len(answers), 1)
            jobs += answers
        print(f"{failed} of 12 submits were cut off", flush=True)
        listed = self.grid.ok("job", "list").json()["jobs"]
        self.assertEqual(sorted(job["id"] for job in listed), sorted(jobs))
        for job_id in jobs:
            self.grid.wait_job(job_id)
            self.assertEqual(self.grid.results(job_id), {"0/out": b"good\n"})

    def test_another_job_with_the_same_key_is_refused(self):
        self.grid.submit(self.grid.job_file(["true"]), key="mine")
        reply = self.grid.cli("job", "submit", self.grid.job_file(["false"]), "--key", "mine")
        self.assertNotEqual(reply.code, 0, str(reply))
        self.assertIn("key", reply.err)

    def test_work_goes_on_while_it_is_away(self):
        """Agents finish what they have and hand it in when the scheduler is back."""
        file = self.grid.job_file(["sh", "-c", "sleep 2; echo {shard} > out"], shards=4,
                                  outputs=["out"])
        job_id = self.grid.submit(file)
        wait(lambda: self.grid.job(job_id)["attempts_running"] == 4, 10, "all shards to run")
        self.grid.kill("scheduler")
        time.sleep(3)
        self.grid.start_scheduler()
        self.grid.wait_job(job_id, 20)
        attempts = [a for shard in self.grid.shards(job_id) for a in shard["attempts"]]
        self.assertEqual([a["state"] for a in attempts], ["agreed"] * 4)


if __name__ == "__main__":
    main()
