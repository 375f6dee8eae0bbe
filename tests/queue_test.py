"""Which job goes first, and which device gets none."""
from grid import GridTest, main, wait

# Counts to STEPS, ten a second; each run notes where it began. What is saved goes on.
COUNT = """#!/bin/sh
n=0
if [ "$CORPGRID_RESUME" = 1 ]; then n=$(cat state/n); else mkdir state; fi
echo "from $n" >> state/runs
trap 'exit 0' TERM
while [ $n -lt $STEPS ]; do sleep 0.1; n=$((n + 1)); echo $n > state/n.new; mv state/n.new state/n; done
cp state/runs out
"""


class QueueTest(GridTest):
    agents, slots = 2, 1

    def counting_job(self, steps, **fields):
        return self.grid.job_file(["./count.sh"], bundle={"count.sh": COUNT}, outputs=["out"],
                                  env={"STEPS": str(steps)},
                                  checkpoint={"folder": "state", "every": "1s"}, **fields)

    def running_on(self, job_id):
        """The names of the devices that run a job's shards."""
        return {a["device_name"] for shard in self.grid.shards(job_id)
                for a in shard["attempts"] if a["state"] == "running"}

    def runs(self, job_id):
        return self.grid.results(job_id)["0/out"].decode().split("\n")[:-1]

    def state_of(self, name):
        return self.grid.device(name)["state"]

    def test_a_drained_device_finishes_and_gets_no_more(self):
        job_id = self.grid.submit(self.grid.job_file(["sleep", "1"], shards=8))
        wait(lambda: len(self.running_on(job_id)) == 2, 20, "both devices to work")
        reply = self.grid.ok("device", "drain", "agent-1").json()
        self.assertIn(reply["attempts_running"], (1, 2))  # one may be fetched ahead
        self.assertIn(self.state_of("agent-1"), ("draining", "drained"))
        wait(lambda: self.state_of("agent-1") == "drained", 20, "agent-1 to finish")
        done_there = self.grid.device("agent-1")["results_agreed"]
        self.grid.wait_job(job_id)
        self.assertEqual(self.grid.device("agent-1")["results_agreed"], done_there)
        why = self.grid.ok("device", "why", "agent-1").json()["sentences"]
        self.assertIn("It is drained and gets no work", why[0])
        # It stays so over a restart of both, until somebody says otherwise.
        self.grid.kill("scheduler")
        self.grid.terminate("agent-1")
        self.grid.start_scheduler()
        self.grid.start_agent("agent-1")
        wait(lambda: self.state_of("agent-1") == "drained", 20, "agent-1 to be back")
        self.grid.ok("device", "drain", "agent-1", "--undo")
        # More than agent-1 is through with before agent-2 has found the new scheduler.
        job_id = self.grid.submit(self.grid.job_file(["sleep", "1"], shards=12))
        wait(lambda: len(self.running_on(job_id)) == 2, 20, "both devices to work")
        self.grid.wait_job(job_id)

    def test_a_device_that_is_drained_now_hands_its_work_on(self):
        job_id = self.grid.submit(self.counting_job(60))
        first = wait(lambda: self.running_on(job_id), 20, "the job to run").pop()
        self.grid.ok("device", "drain", first, "--now")
        self.grid.wait_job(job_id)
        states = [a["state"] for a in self.grid.shards(job_id)[0]["attempts"]]
        self.assertEqual(states, ["given back", "agreed"])
        self.assertEqual(self.grid.device(first)["device_faults"], 0)

    def test_a_higher_priority_takes_the_device_and_the_other_goes_on(self):
        self.grid.terminate("agent-2")
        low = self.grid.submit(self.counting_job(150))
        wait(lambda: self.running_on(low), 20, "the low one to run")
        high = self.grid.submit(self.grid.job_file(["true"], priority=5))
        self.grid.wait_job(high, 25)
        self.assertEqual(self.grid.job(low)["state"], "running")
        self.grid.wait_job(low)
        runs = self.runs(low)
        self.assertEqual(len(runs), 2, runs)
        self.assertGreater(int(runs[1].split()[1]), 20, "it began again and did not go on")

    def test_jobs_follow_each_other(self):
        first = self.grid.submit(self.grid.job_file(["sleep", "1"]))
        second = self.grid.submit(self.grid.job_file(["true"], after=[first]))
        third = self.grid.submit(self.grid.job_file(["false"], after=[second], retries=0))
        fourth = self.grid.ok("job", "submit", self.grid.job_file(["true"]), "--after", third,
                              "--priority", 3).json()["job_id"]
        self.assertEqual(self.grid.job(fourth)["spec"]["priority"], 3)
        why = self.grid.ok("job", "why", fourth).json()["sentences"]
        self.assertIn(f"It begins when job {third} is done.", why)
        self.grid.wait_job(second)
        self.grid.wait_job(third, state="failed")
        ended = self.grid.wait_job(fourth, state="failed")
        self.assertEqual(ended["error"], f"job {third}, after which it should run, failed")
        reply = self.grid.cli("job", "submit", self.grid.job_file(["true"], after=[third]))
        self.assertEqual(reply.code, 1, reply)
        self.assertIn(f"job {third}, after which this one should run, failed", str(reply))
        reply = self.grid.cli("job", "submit", self.grid.job_file(["true"], after=[999]))
        self.assertIn("there is no job 999 to wait for", str(reply))

    def test_a_deadline_ends_what_runs(self):
        job_id = self.grid.submit(self.grid.job_file(["sleep", "600"], deadline="2s"))
        job = self.grid.wait_job(job_id, 20, state="failed")
        self.assertEqual(job["error"], "its deadline of 2.0 s is over")
        wait(lambda: self.state_of("agent-1") == self.state_of("agent-2") == "idle", 20,
             "the devices to be free")


if __name__ == "__main__":
    main()
