"""Laptops: processes that sleep (SIGSTOP) and wake, for less and for more than a lease lasts."""
import os
import signal
import time

from grid import GridTest, descendants, main, wait

TTL = 10  # seconds: 2 s between heartbeats, 4 of them may be missed


class LaptopTest(GridTest):
    agents, slots = 2, 1

    def asleep(self, name, seconds, with_shards=True):
        """Stops the agent, and what it runs, for so long."""
        process = self.grid.running[name]
        pids = [process.pid] + [p.pid for p in descendants(process.pid) if with_shards]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        for pid in reversed(pids):
            os.kill(pid, signal.SIGCONT)

    def start_job(self, seconds, **fields):
        """A job of one shard; returns it and the name of the device that runs it."""
        steps = seconds * 10
        count = f"i=0; while [ $i -lt {steps} ]; do sleep 0.1; i=$((i+1)); done; echo {steps} > out"
        job_id = self.grid.submit(self.grid.job_file(["sh", "-c", count], outputs=["out"], **fields))
        busy = wait(lambda: [d["info"]["name"] for d in self.grid.devices()
                             if d["attempts_running"] > 0], 15, "the shard to run")
        return job_id, busy[0]

    def attempts(self, job_id):
        return self.grid.shards(job_id)[0]["attempts"]

    def test_a_nap_costs_nothing(self):
        """The agent alone, then with its sandbox: the attempt goes on and its result counts."""
        job_id, name = self.start_job(8)
        self.asleep(name, TTL * 0.6, with_shards=False)
        time.sleep(2.5)
        self.asleep(name, TTL * 0.6)
        self.grid.wait_job(job_id, 60)
        self.assertEqual([a["state"] for a in self.attempts(job_id)], ["agreed"])
        self.assertEqual(self.grid.device(name)["leases_expired"], 0)
        self.assertEqual(self.grid.results(job_id), {"0/out": b"80\n"})

    def test_a_result_that_was_finished_asleep_counts_within_the_grace(self):
        job_id, name = self.start_job(3)
        self.asleep(name, TTL * 0.7, with_shards=False)
        self.grid.wait_job(job_id, 30)
        self.assertEqual([a["state"] for a in self.attempts(job_id)], ["agreed"])

    def test_who_sleeps_longer_finds_the_shard_done_elsewhere(self):
        job_id, name = self.start_job(4)
        self.asleep(name, TTL + 8, with_shards=False)  # it finishes, and is too late
        job = self.grid.wait_job(job_id, 30)
        attempts = self.attempts(job_id)
        self.assertEqual([a["state"] for a in attempts], ["expired", "agreed"])
        self.assertNotEqual(attempts[0]["device_id"], attempts[1]["device_id"])
        self.assertEqual(job["shards_done"], 1)
        self.assertEqual(self.grid.results(job_id), {"0/out": b"40\n"})
        # It wakes, throws away what nobody wants, and works on.
        wait(lambda: self.grid.device(name)["state"] == "idle", 15, "it to be back")
        again = self.grid.submit(self.grid.job_file(["true"], shards=2))
        self.grid.wait_job(again, 30)
        self.assertEqual([a["state"] for a in self.attempts(job_id)], ["expired", "agreed"])

    def test_a_shard_that_slept_too_long_is_ended(self):
        job_id, name = self.start_job(300)
        self.asleep(name, TTL + 3)
        wait(lambda: len(self.attempts(job_id)) == 2, 10, "another device to run it")

        def commands():
            return [p for p in descendants(self.grid.running[name].pid) if p.name == "sh"]
        wait(lambda: not commands(), 10, "the late shard to be ended")
        self.assertEqual([a["state"] for a in self.attempts(job_id)], ["expired", "running"])
        self.grid.ok("job", "cancel", job_id)

    def test_a_scheduler_that_slept_ends_nobodys_work(self):
        """That nobody was heard meanwhile is no device's doing."""
        job_id, name = self.start_job(20)
        scheduler = self.grid.running["scheduler"]
        os.kill(scheduler.pid, signal.SIGSTOP)
        time.sleep(TTL + 5)
        os.kill(scheduler.pid, signal.SIGCONT)
        self.grid.wait_job(job_id, 60)
        self.assertEqual([a["state"] for a in self.attempts(job_id)], ["agreed"])
        self.assertEqual(self.grid.device(name)["leases_expired"], 0)


if __name__ == "__main__":
    main()
