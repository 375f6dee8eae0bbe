"""kill -9 of an agent that has finished work in hand: its next run hands that in, and repeats nothing."""
import os
import signal
import time

from grid import GridTest, main, seeded, wait

# What it says differs from run to run.
ONCE = "head -c 20 /dev/urandom | od -An -tx1 > small; head -c 200000 /dev/urandom > large"


class RestartAgentTest(GridTest):
    agents, slots = 1, 2

    def finished(self):
        """{name: bytes} of what the agent keeps: a record an attempt, and large outputs."""
        folder = self.grid.agent_folder("agent-1") / "finished"
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    def hold_in_hand(self, shards):
        """Runs a job whose results the agent cannot hand in; returns the job and what it keeps."""
        file = self.grid.job_file(["sh", "-c", f"sleep 1; {ONCE}"], shards=shards,
                                  outputs=["small", "large"])
        job_id = self.grid.submit(file)
        wait(lambda: self.grid.device("agent-1")["attempts_running"] == shards, 20, "them to run",
             pause=0.01)
        time.sleep(0.5)
        os.kill(self.grid.running["scheduler"].pid, signal.SIGSTOP)
        wait(lambda: len(self.finished()) == 2 * shards, 20, "them to be finished")
        time.sleep(0.3)
        return job_id, self.finished()

    def wake_scheduler(self):
        os.kill(self.grid.running["scheduler"].pid, signal.SIGCONT)

    def test_finished_work_is_handed_in_by_the_next_run(self):
        job_id, kept = self.hold_in_hand(2)
        self.grid.kill("agent-1")
        self.wake_scheduler()
        self.grid.start_agent("agent-1")
        self.grid.wait_job(job_id, 30)
        self.grid.check_accepted_once(job_id, quorum=1)
        for shard in self.grid.shards(job_id):
            self.assertEqual(len(shard["attempts"]), 1)
            attempt = str(shard["attempts"][0]["id"])
            results = self.grid.results(job_id)
            self.assertTrue(results[f"{shard['index']}/large"] == kept[f"{attempt}-0"])
            self.assertIn(results[f"{shard['index']}/small"], kept[attempt])
        wait(lambda: not self.finished(), 5, "the records to go")

    def test_work_that_came_too_late_is_dropped_without_a_mark(self):
        job_id, kept = self.hold_in_hand(2)
        self.grid.kill("agent-1")
        self.wake_scheduler()
        self.grid.start_agent("agent-2", "owner-2")
        self.grid.wait_job(job_id, 60)
        before = self.grid.results(job_id)
        self.grid.start_agent("agent-1")
        wait(lambda: not self.finished(), 20, "the records to go")
        device = self.grid.device("agent-1")
        self.assertEqual(device["results_refused"], 0)
        self.assertTrue(self.grid.results(job_id) == before)
        self.assertFalse(before["0/large"] in kept.values())

    def test_storm(self):
        """Killed again and again, it still brings every shard in exactly once."""
        random = seeded()
        file = self.grid.job_file(["sh", "-c", f"sleep 0.2; {ONCE}"], shards=60,
                                  outputs=["small", "large"])
        job_id = self.grid.submit(file)
        kills = 0
        while not self.grid.job(job_id)["finished_wall_ms"]:
            time.sleep(random.uniform(0.3, 1.5))
            self.grid.kill("agent-1")
            self.grid.start_agent("agent-1")
            kills += 1
            self.assertLess(kills, 100)
        print(f"{kills} kills", flush=True)
        self.grid.wait_job(job_id)
        self.grid.check_accepted_once(job_id, quorum=1)
        attempts = [a for shard in self.grid.shards(job_id) for a in shard["attempts"]]
        # What it died in the middle of it begins anew; what was finished is not repeated.
        self.assertEqual({a["state"] for a in attempts} - {"died"}, {"agreed"})
        self.assertEqual(self.grid.device("agent-1")["results_refused"], 0)
        wait(lambda: not self.finished(), 5, "the records to go")


if __name__ == "__main__":
    main()
