"""Commands that misbehave: each gets a verdict that says so, and none outlives its shard."""
import time

from grid import GridTest, main, processes

PYTHON = "/usr/bin/python3"
FORK_FOREVER = """
import os, time
while True:
    try:
        if os.fork() == 0: time.sleep(0.01)
    except OSError: pass
"""


class HostileCommandTest(GridTest):
    agents, slots = 2, 2

    def tearDown(self):
        """Whatever happened, a normal job still passes."""
        job_id = self.run_ok(self.grid.job_file(["sh", "-c", "echo fine > out"], outputs=["out"]))
        self.assertEqual(self.grid.results(job_id), {"0/out": b"fine\n"})
        super().tearDown()

    def fail_job(self, command, expected, seconds=30, **fields):
        """Runs a job that must fail; its only attempt must have the outcome `expected`."""
        file = self.grid.job_file(command, retries=0, **fields)
        job_id = self.grid.submit(file)
        job = self.grid.wait_job(job_id, seconds, "failed")
        attempts = self.grid.shards(job_id)[0]["attempts"]
        said = f"{attempts[-1]['outcome']} {attempts[-1]['exit_code']} {job['error']}"
        self.assertEqual(len(attempts), 1, said)
        self.assertRegex(said, expected)
        why = " ".join(self.grid.ok("job", "why", job_id).json()["sentences"])
        self.assertIn(job["error"], why)
        return job_id

    def assert_gone(self, marker):
        self.assertEqual([str(p) for p in processes().values() if marker in p.command()], [])

    def test_forks_forever(self):
        started = time.monotonic()
        self.fail_job([PYTHON, "-c", FORK_FOREVER, "fork-marker-5309"], "(?i)wall|memory",
                      limits={"wall": "3s", "processes": 40}, resources={"memory": "512MiB"})
        self.assertLess(time.monotonic() - started, 20)
        self.assert_gone("fork-marker-5309")

    def test_fills_the_disk(self):
        self.fail_job(["sh", "-c", "cat /dev/zero > big"], "(?i)output|disk|space",
                      limits={"wall": "20s", "disk": "16MiB", "output": "1MiB"},
                      resources={"memory": "256MiB"})

    def test_ignores_sigterm(self):
        started = time.monotonic()
        self.fail_job(["sh", "-c", "trap '' TERM INT HUP; while :; do sleep 271.83; done"],
                      "(?i)wall", limits={"wall": "1s"})
        self.assertLess(time.monotonic() - started, 15)
        self.assert_gone("sleep 271.83")

    def test_writes_a_gigabyte_to_stdout(self):
        job_id = self.run_ok(self.grid.job_file(
            ["sh", "-c", "head -c 1G /dev/zero; echo; echo end; head -c 1M /dev/zero >&2"]))
        logs = self.grid.ok("job", "logs", job_id).json()["logs"][0]
        self.assertTrue(logs["stdout_tail"].endswith("\nend\n"))
        self.assertLessEqual(len(logs["stdout_tail"]), 1 << 20)

    def test_writes_a_gigabyte_of_output(self):
        self.fail_job(["sh", "-c", "head -c 1G /dev/zero > out"], "(?i)output|disk|memory",
                      outputs=["out"], resources={"memory": "256MiB"},
                      limits={"output": "1MiB", "disk": "1GiB"})

    def test_output_just_over_its_limit(self):
        self.fail_job(["sh", "-c", "head -c 1048577 /dev/zero > out"], "(?i)output",
                      outputs=["out"], limits={"output": "1MiB"})

    def test_leaves_a_child_behind(self):
        job_id = self.run_ok(self.grid.job_file(
            ["sh", "-c", "setsid sleep 314.15 >/dev/null 2>&1 & echo done > out"], outputs=["out"]))
        self.assertEqual(self.grid.results(job_id), {"0/out": b"done\n"})
        self.assert_gone("sleep 314.15")

    def test_child_cannot_change_an_output_afterwards(self):
        script = "echo first > out; (setsid sh -c 'while :; do echo late >> out; done' &) ; exit 0"
        file = self.grid.job_file(["sh", "-c", script], outputs=["out"])
        job_id = self.run_ok(file)
        self.assertTrue(self.grid.results(job_id)["0/out"].startswith(b"first\n"))

    def test_huge_environment(self):
        env = {f"VARIABLE_{i}": "x" * 220 for i in range(200)}
        job_id = self.run_ok(self.grid.job_file(["sh", "-c", "env | grep -c ^VARIABLE_ > out"],
                                                outputs=["out"], env=env))
        self.assertEqual(self.grid.results(job_id), {"0/out": b"200\n"})
        file = self.grid.job_file(["true"], env={"A": "x" * 30_000, "B": "x" * 30_000})
        reply = self.grid.cli("job", "submit", file)
        self.assertEqual(reply.code, 2, str(reply))
        self.assertIn("env", reply.err)

    def test_exits_with_a_status(self):
        job_id = self.fail_job(["sh", "-c", "echo broken >&2; exit 3"], "exited 3 .*status 3")
        self.assertEqual(self.grid.ok("job", "logs", job_id).json()["logs"][0]["stderr_tail"],
                         "broken\n")

    def test_crashes(self):
        self.fail_job(["sh", "-c", "kill -SEGV $$"], "signal.* 11")

    def test_is_retried_as_often_as_asked(self):
        job_id = self.grid.submit(self.grid.job_file(["false"], retries=2))
        self.grid.wait_job(job_id, 30, "failed")
        shard = self.grid.shards(job_id)[0]
        self.assertEqual((shard["tries"], len(shard["attempts"])), (3, 3))

    def test_takes_too_much_memory(self):
        self.fail_job([PYTHON, "-c", "x = bytearray(900 << 20); print(len(x))"], "(?i)memory",
                      resources={"memory": "64MiB"}, limits={"wall": "20s"})

    def test_no_such_program(self):
        self.fail_job(["./nothing-here"], "(?i)could not be (started|executed)|not started")

    def test_output_is_missing_or_no_file(self):
        self.fail_job(["true"], "(?i)output", outputs=["out"])
        self.fail_job(["sh", "-c", "ln -s /etc/passwd out"], "(?i)output", outputs=["out"])
        self.fail_job(["sh", "-c", "mkfifo out"], "(?i)output", outputs=["out"])
        self.fail_job(["sh", "-c", "mkdir out"], "(?i)output", outputs=["out"])

    def test_sees_nothing_of_the_machine(self):
        secret, agent = self.grid.data / "submitter.key", self.grid.running["agent-1"].pid
        script = f"""
ls / | tr '\\n' ' ' > out
for path in /root /home /var/lib /srv {secret} {self.grid.folder} /proc/{agent}
do if [ -e "$path" ]; then echo "sees $path" >> out; fi; done
cat /proc/self/status | grep CapEff >> out
if (echo > /usr/written) 2>/dev/null; then echo "writes /usr" >> out; fi
if [ "$(id -u)" = 0 ]; then echo "is root" >> out; fi
"""
        job_id = self.run_ok(self.grid.job_file(["sh", "-c", script], outputs=["out"]))
        out = self.grid.results(job_id)["0/out"].decode()
        self.assertIn("CapEff:\t0000000000000000", out)
        for wrong in ("sees ", "writes ", "is root"):
            self.assertNotIn(wrong, out)

    def test_network_is_off(self):
        script = f"""
import socket
try:
    socket.create_connection(("127.0.0.1", {self.grid.address.split(":")[-1]}), 2)
    print("connected")
except OSError as error:
    print("refused", error)
"""
        job_id = self.run_ok(self.grid.job_file([PYTHON, "-c", script]))
        logs = self.grid.ok("job", "logs", job_id).json()["logs"][0]
        self.assertIn("refused", logs["stdout_tail"])


if __name__ == "__main__":
    main()
