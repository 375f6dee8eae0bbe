"""Results that differ in their last digits: compared as numbers, or by a program of the user's."""
from grid import GridTest, main, wait

NOISY = "import random; print('energy:', 2.5 + random.random() * 1e-9)"
COMPARE = """#!/usr/bin/python3
import os, pathlib, socket, sys, time
a, b = (float(pathlib.Path(side, "out").read_text().split()[1]) for side in sys.argv[-2:])
time.sleep(float(sys.argv[1]))
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[2])), timeout=1)
    sys.exit("the validator reached the network")
except OSError:
    pass
if os.path.exists("/root") or os.path.exists("/home"):
    sys.exit("the validator sees the host")
print("too far apart", file=sys.stderr)
sys.exit(abs(a - b) > float(sys.argv[3]))
"""


class ValidatorTest(GridTest):
    agents, slots = 3, 2

    def noisy_job(self, validator, shards=4, **fields):
        return self.grid.job_file(["sh", "-c", f'python3 -c "{NOISY}" > out'],
                                  shards=shards, outputs=["out"],
                                  redundancy={"replicas": 2, "quorum": 2, "validator": validator},
                                  **fields)

    def program_job(self, tolerance, sleep=0, shards=4):
        port = self.grid.address.split(":")[1]
        return self.noisy_job({"command": ["./compare.py", str(sleep), port, str(tolerance)]},
                              shards, bundle={"compare.py": COMPARE})

    def check_close(self, job_id):
        """Each shard was agreed on by two owners, whose bytes were not the same."""
        different = 0
        for shard in self.grid.shards(job_id):
            agreed = [a for a in shard["attempts"] if a["state"] == "agreed"]
            self.assertEqual(len({a["owner"] for a in agreed}), len(agreed), shard)
            self.assertGreaterEqual(len(agreed), 2, shard)
            winner = next(a for a in agreed if a["id"] == shard["winner"])
            self.assertEqual(winner["outputs"], shard["outputs"])
            different += len({a["outputs"][0]["hash"] for a in agreed}) > 1
        self.assertEqual(different, len(self.grid.shards(job_id)))
        for text in self.grid.results(job_id).values():
            self.assertAlmostEqual(float(text.split()[1]), 2.5, places=6)

    def why(self, job_id):
        return " ".join(self.grid.ok("job", "why", job_id).json()["sentences"])

    def test_numbers_within_a_tolerance_agree(self):
        self.check_close(self.run_ok(self.noisy_job({"numeric": "text", "relative": 1e-6})))

    def test_numbers_beyond_it_do_not(self):
        job_id = self.grid.submit(self.noisy_job({"numeric": "text", "relative": 1e-15}, shards=1))
        wait(lambda: "results differ in out, line 1: " in self.why(job_id), 30, "a difference")
        self.grid.ok("job", "cancel", job_id)

    def test_a_program_decides(self):
        self.check_close(self.run_ok(self.program_job(1e-6)))

    def test_a_program_that_says_no(self):
        job_id = self.grid.submit(self.program_job(1e-15, shards=1))
        words = "eyes of their validator (exit status 1): too far apart"
        wait(lambda: words in self.why(job_id), 30, "a difference")
        self.grid.ok("job", "cancel", job_id)

    def test_a_program_that_crashes_agrees_with_nothing(self):
        job_id = self.grid.submit(self.noisy_job({"command": ["sh", "-c", "kill -9 $$"]}, shards=1))
        wait(lambda: "validator (ended by signal 9)" in self.why(job_id), 30, "a crash")
        self.grid.ok("job", "cancel", job_id)

    def test_the_scheduler_is_killed_while_it_compares(self):
        job_id = self.grid.submit(self.program_job(1e-6, sleep=2, shards=2))
        wait(lambda: any(a["state"] == "submitted" for s in self.grid.shards(job_id)
                         for a in s["attempts"]), 30, "a result")
        self.grid.kill("scheduler")
        self.grid.start_scheduler()
        self.grid.wait_job(job_id)
        self.check_close(job_id)


if __name__ == "__main__":
    main()
