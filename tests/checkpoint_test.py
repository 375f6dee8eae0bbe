"""Checkpoints with real processes: a shard whose device is killed goes on elsewhere."""
import json
import os
import pathlib
import signal
import time

from grid import GridTest, descendants, main, seeded, wait

# Counts to `steps`, one a tenth of a second. Its state is when it began, from which number, and two
# files that are written in place, the second always after the first.
WORK = """#!/usr/bin/python3
import json, os, sys, time
steps, begun, first = int(sys.argv[1]), [], 0
if os.environ.get("CORPGRID_RESUME") == "1":
    first = int(open("state/first").read())
    second = int(open("state/second").read())
    if first - second not in (0, 1): sys.exit(f"torn: {first} {second}")
    begun = json.load(open("state/begun"))
elif os.path.exists("state"):
    sys.exit("a state without being told")
else:
    os.mkdir("state")
begun.append([first, float(open("state/saved").read()) if first else 0, time.time()])
json.dump(begun, open("state/begun.new", "w"))
os.rename("state/begun.new", "state/begun")
for n in range(first + 1, steps + 1):
    time.sleep(0.1)
    open("state/saved", "w").write(str(time.time()))
    for name in ("first", "second"): open(f"state/{name}", "w").write(f"{n:06}")
    os.write(3, f"{n / steps}\\n".encode())
json.dump(begun, open("begun.json", "w"))
"""
EVERY = 1.0
SLACK = 2.5  # seconds for a copy, its upload and a busy machine


class CheckpointTest(GridTest):
    agents, slots = 2, 1

    def long_job(self, steps=100, **fields):
        fields = {"checkpoint": {"folder": "state", "every": f"{EVERY:g}s"}, **fields}
        return self.grid.job_file(["./work.py", str(steps)], outputs=["begun.json"],
                                  bundle={"work.py": WORK}, **fields)

    def running(self, job_id):
        """The running attempts of the job's first shard."""
        shards = self.grid.shards(job_id)
        return [a for a in shards[0]["attempts"] if a["state"] == "running"] if shards else []

    def name_of(self, attempt):
        return next(device["info"]["name"] for device in self.grid.devices()
                    if device["id"] == attempt["device_id"])

    def progress(self, job_id):
        running = self.running(job_id)
        return max((attempt["progress"] for attempt in running), default=-1)

    def begun(self, job_id):
        return json.loads(self.grid.results(job_id)["0/begun.json"])

    def test_a_killed_device_costs_an_interval(self):
        random = seeded()
        job_id = self.grid.submit(self.long_job(steps=120))
        wait(lambda: self.progress(job_id) > 0.1, 30, "the shard to get on")
        time.sleep(random.uniform(2 * EVERY, 4 * EVERY))
        first = self.name_of(self.running(job_id)[0])
        killed = time.time()
        self.grid.kill(first)
        self.grid.wait_job(job_id, 60)
        begun = self.begun(job_id)
        self.assertEqual(len(begun), 2, begun)
        self.assertGreater(begun[1][0], 0)
        self.assertLess(killed - begun[1][1], EVERY + SLACK)
        states = [a["state"] for a in self.grid.shards(job_id)[0]["attempts"]]
        self.assertEqual(sorted(states), ["agreed", "expired"])

    def test_the_state_survives_the_scheduler(self):
        job_id = self.grid.submit(self.long_job())
        wait(lambda: self.progress(job_id) > 0.3, 30, "the shard to get on")
        first = self.name_of(self.running(job_id)[0])
        self.grid.kill("scheduler")
        self.grid.kill(first)
        self.grid.start_scheduler()
        self.grid.wait_job(job_id, 60)
        begun = self.begun(job_id)
        self.assertEqual(len(begun), 2, begun)
        self.assertGreater(begun[1][0], 10)

    def test_a_quorum_is_of_independent_results(self):
        """A state goes on with its own owner only, so no second vote begins with the first's."""
        work = WORK.replace('"begun.json"', '"private"') + 'open("begun.json", "w").write("same")\n'
        file = self.grid.job_file(["./work.py", "60"], outputs=["begun.json"],
                                  bundle={"work.py": work},
                                  redundancy={"replicas": 2, "quorum": 2},
                                  checkpoint={"folder": "state", "every": "1s"})
        job_id = self.grid.submit(file)
        wait(lambda: len(self.running(job_id)) == 2, 30, "both to run it")
        wait(lambda: self.progress(job_id) > 0.4, 30, "the shard to get on")
        self.grid.kill("agent-1")
        self.grid.start_agent("agent-3", "owner-3")
        wait(lambda: [a for a in self.running(job_id) if self.name_of(a) == "agent-3"], 30,
             "the newcomer to run it")
        self.assertNotIn("CORPGRID_RESUME=1", self.environment_of("agent-3"))
        self.grid.wait_job(job_id, 60)
        self.grid.check_accepted_once(job_id, quorum=2)

    def environment_of(self, name):
        """The environments of what the agent's shard runs."""
        def commands():
            return [p for p in descendants(self.grid.running[name].pid) if "work.py" in p.command()]
        found = wait(commands, 10, "the command to run")
        return " ".join(pathlib.Path(f"/proc/{p.pid}/environ").read_bytes().decode(errors="replace")
                        for p in found)

    def test_a_state_that_cannot_be_saved_is_told_and_costs_nothing(self):
        file = self.grid.job_file(
            ["sh", "-c", "mkdir state; ln -s /etc/passwd state/a; sleep 3; echo done > out"],
            outputs=["out"], checkpoint={"every": "1s"})
        job_id = self.run_ok(file)
        self.assertEqual(self.grid.results(job_id), {"0/out": b"done\n"})
        self.assertIn("state/a: a link", json.dumps(self.grid.shards(job_id)))

    def test_nothing_of_a_state_is_left(self):
        objects = self.grid.data / "scheduler" / "objects"
        noise = "head -c 3000000 /dev/urandom > state/noise.new; mv state/noise.new state/noise"
        file = self.grid.job_file(
            ["sh", "-c", f"mkdir state; for i in 1 2 3 4 5 6; do {noise}; sleep 0.7; done"],
            checkpoint={"every": "1s"})
        job_id = self.grid.submit(file)

        def stored():
            return sum(p.stat().st_size for p in (objects / "chunks").rglob("*") if p.is_file())
        wait(lambda: stored() >= 3_000_000, 30, "a state to be stored")
        most = 0
        while not self.grid.job(job_id)["finished_wall_ms"]:
            most = max(most, stored())
        self.grid.wait_job(job_id)
        self.assertLess(most, 7_500_000)  # the last one and the one that replaces it
        wait(lambda: stored() == 0, 10, "the state to go with its shard")


if __name__ == "__main__":
    main()
