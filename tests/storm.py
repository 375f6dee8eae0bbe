"""What the kill tests share: jobs keep coming while a test strikes at random moments."""
import time

from grid import GridTest, seeded, wait

ROUNDS = 50
SHARDS = 12
STORM_SECONDS = 120
WORK = """#!/bin/sh
sleep 0.$(($1 % 3 + 1))
echo "shard $1 of $2" > out.txt
"""


class StormTest(GridTest):
    """After the storm every job is done, with the right bytes, each shard accepted exactly once."""
    pause = 0.8  # seconds between two strikes, at most

    def storm(self, strike):
        """Calls strike(random) ROUNDS times, at random moments of running jobs."""
        random = seeded()
        started = time.monotonic()
        keys, rounds = {}, 0
        while rounds < ROUNDS:
            self.assertLess(time.monotonic() - started, STORM_SECONDS, f"only {rounds} rounds")
            if self.unfinished(keys) < 2:
                self.submit_surely(keys)
            time.sleep(random.uniform(0, self.pause))
            rounds += strike(random)
        self.settle()
        print(f"{rounds} kills, {len(keys)} jobs, {time.monotonic() - started:.0f} s", flush=True)
        for job_id in keys.values():
            self.check_job(job_id)
        listed = self.grid.ok("job", "list", "--limit", 1000).json()["jobs"]
        self.assertEqual(sorted(job["id"] for job in listed), sorted(keys.values()))

    def settle(self):
        """For what has to be started again when the storm is over."""

    def submit_surely(self, keys):
        """Submits a job under a key of its own, again and again until an answer comes."""
        key = f"storm-{len(keys)}"
        file = self.grid.job_file(["./work.sh", "{shard}", "{shards}"], shards=SHARDS,
                                  outputs=["out.txt"], bundle={"work.sh": WORK},
                                  redundancy={"replicas": 2, "quorum": 2},
                                  retries=3)
        def submitted():
            reply = self.grid.cli("job", "submit", file, "--key", key)
            self.assertIn(reply.code, (0, 3), str(reply))  # 3: the grid could not be reached
            return reply.json()["job_id"] if reply.code == 0 else None
        keys[key] = wait(submitted, 30, f"{key} to be submitted")

    def unfinished(self, keys):
        reply = self.grid.cli("job", "list", "--limit", 1000)
        if reply.code != 0:
            return 2
        return sum(job["finished_wall_ms"] == 0 for job in reply.json()["jobs"])

    def check_job(self, job_id):
        self.grid.wait_job(job_id, 90)
        self.grid.check_accepted_once(job_id, quorum=2)
        expected = {f"{i}/out.txt": f"shard {i} of {SHARDS}\n".encode() for i in range(SHARDS)}
        self.assertEqual(self.grid.results(job_id), expected)
