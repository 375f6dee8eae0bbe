"""The commands as scripts see them: exit codes, --json, help and what a typo is told."""
import json
import pathlib
import subprocess
import tempfile
import unittest

from grid import BIN, GridTest, main

DONE, FAILED, USAGE, UNREACHABLE = 0, 1, 2, 3
COMMANDS = ["up", "scheduler", "agent", "job run", "job submit", "job list", "job show", "job logs",
            "job results", "job cancel", "job why", "device list", "device show", "device why",
            "token create", "store copy", "audit list", "audit verify", "audit prove"]


def run(*args):
    return subprocess.run([str(BIN / "corpgrid"), *args], capture_output=True, text=True,
                          timeout=60)


class WithoutGridTest(unittest.TestCase):
    def test_help(self):
        for command in COMMANDS:
            done = run(*command.split(), "--help")
            self.assertEqual(done.returncode, DONE, command)
            self.assertIn("--data", done.stdout, command)
            self.assertIn("--json", done.stdout, command)
        for command in (*COMMANDS, "serve", "chat", "model bench"):
            self.assertNotRegex(run(*command.split(), "--help").stdout, r" in \[", command)
        self.assertIn("may begin a second", " ".join(run("serve", "--help").stdout.split()))
        top = run("--help").stdout
        for word in ("up", "job", "device"):
            self.assertIn(word, top)

    def test_typos_name_the_nearest(self):
        for words, meant in ((["jbo"], "job"), (["job", "lst"], "list"),
                             (["device", "shwo"], "show"), (["job", "list", "--jsn"], "--json")):
            done = run(*words)
            self.assertEqual(done.returncode, USAGE, words)
            self.assertIn(f"did you mean {meant}", done.stderr, words)
        self.assertIn("--data comes after the command", run("--data", "x", "job", "list").stderr)

    def test_usage(self):
        for words in (["job", "show"], ["job", "show", "seven"], ["job", "run"], ["job"], [],
                      ["agent"], ["up", "--agents", "0"], ["job", "list", "one-too-many"]):
            self.assertEqual(run(*words).returncode, USAGE, words)

    def test_unreachable(self):
        for words in (["job", "list"], ["device", "list"], ["job", "show", "1"],
                      ["job", "why", "1"], ["token", "create", "--owner", "x"]):
            done = run(*words, "--data", "/nonexistent/grid")
            self.assertEqual(done.returncode, UNREACHABLE, words)
            self.assertIn("corpgrid up", done.stderr, words)
            done = run(*words, "--data", "/nonexistent/grid", "--json")
            self.assertEqual(done.returncode, UNREACHABLE, words)
            self.assertEqual(json.loads(done.stdout)["exit_code"], UNREACHABLE, words)

    def test_a_key_that_cannot_be_read_back_is_not_written(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "keys.json"
            self.assertEqual(run("apikey", "create", "alice", "--file", file).returncode, DONE)
            before = file.read_bytes()
            for words, why in (
                    (["ci", "--concurrent", "2000000"],
                     "max_concurrent is 2000000; it may be from 0 to 1000000"),
                    (["ci", "--tokens-per-minute", str(2**60)], f"tokens_per_minute is {2**60}"),
                    (["\udcff"], "name is no UTF-8"), ([""], "name is empty"),
                    (["ci", "--expires", "0s"], '--expires is "0s"; a key is for 1s at least'),
                    (["ci", "--expires", "999ms"], '--expires is "999ms"'),
                    (["ci", "--expires", ""], "expected a number and a unit")):
                done = run("apikey", "create", *words, "--file", file)
                self.assertEqual(done.returncode, USAGE, done.stderr)
                self.assertIn(why, done.stderr)
                self.assertEqual(done.stdout, "", "a key is shown that nobody has")
            self.assertEqual(file.read_bytes(), before)
            self.assertEqual(run("apikey", "list", "--file", file).returncode, DONE)

    def test_completion(self):
        for shell in ("bash", "zsh", "fish"):
            done = run("completion", shell)
            self.assertEqual(done.returncode, DONE, shell)
            self.assertIn("corpgrid", done.stdout)
        script = run("completion", "bash").stdout
        self.assertEqual(subprocess.run(["bash", "-n"], input=script, text=True).returncode, 0)


class CliTest(GridTest):
    agents = 1

    def test_exit_codes(self):
        good = self.grid.job_file(["sh", "-c", "echo hello > out"], outputs=["out"])
        bad = self.grid.job_file(["sh", "-c", "echo broken >&2; exit 3"], retries=0)
        out = self.grid.folder / "fetched"
        done = self.grid.cli("job", "run", good, "--out", out)
        self.assertEqual(done.code, DONE, str(done))
        self.assertEqual(done.json()["state"], "done")
        self.assertEqual((out / "0/out").read_text(), "hello\n")
        done = self.grid.cli("job", "run", bad)
        self.assertEqual(done.code, FAILED, str(done))
        self.assertEqual(done.json()["state"], "failed")
        done = self.grid.cli("job", "run", bad, json_output=False)
        self.assertEqual(done.code, FAILED)
        for word in ("exit code 3", "broken", "job logs"):
            self.assertIn(word, done.err)
        self.assertEqual(self.grid.cli("job", "show", 999).code, FAILED)
        self.assertEqual(self.grid.cli("device", "show", "agent-7").code, FAILED)
        self.assertIn("did you mean agent-1", self.grid.cli("device", "show", "agent-7").err)

    def test_mistakes_of_a_job_file_come_all_at_once(self):
        file = self.grid.folder / "wrong.yaml"
        file.write_text("name: x\nrun: {comand: [true]}\nshards: none\nlimits: {wall: 3 parsecs}\n")
        done = self.grid.cli("job", "submit", file)
        self.assertEqual(done.code, USAGE, str(done))
        for part in (f"{file}:2:", "command", f"{file}:3:", f"{file}:4:"):
            self.assertIn(part, done.err)
        self.assertEqual(done.json()["exit_code"], USAGE)
        missing = self.grid.cli("job", "submit", self.grid.folder / "nowhere.yaml")
        self.assertNotEqual(missing.code, DONE)
        self.assertIn("nowhere.yaml", missing.err)

    def test_json_is_parseable_everywhere(self):
        job_id = self.run_ok(self.grid.job_file(
            ["sh", "-c", "echo one; echo two >&2; echo x > out"], outputs=["out"]))
        replies = {words: self.grid.ok(*words.split()).json() for words in (
            "job list", f"job show {job_id}", f"job show {job_id} --shards", f"job logs {job_id}",
            f"job why {job_id}", f"job cancel {job_id}", "device list", "device show agent-1",
            "device why agent-1", "token create --owner someone", "key show",
            f"job results {job_id} --out {self.grid.folder}/out")}
        self.assertEqual(replies["job list"]["jobs"][0]["id"], job_id)
        logs = replies[f"job logs {job_id}"]["logs"][0]
        self.assertEqual((logs["stdout_tail"], logs["stderr_tail"]), ("one\n", "two\n"))
        self.assertEqual(replies[f"job cancel {job_id}"]["state"], "done")
        self.assertEqual(replies["device list"]["devices"][0]["owner"], "owner-1")
        attempt = replies[f"job show {job_id} --shards"]["shard_list"][0]["attempts"][0]
        self.assertEqual(attempt["state"], "agreed")
        self.assertRegex(attempt["outputs"][0]["hash"], "^[0-9a-f]{64}$")

    def test_plain_lines_in_a_pipe(self):
        file = self.grid.job_file(["true"], shards=3)
        done = self.grid.cli("job", "run", file, json_output=False)
        self.assertEqual(done.code, DONE, str(done))
        self.assertNotIn("\x1b", done.out + done.err)
        self.assertNotIn("\r", done.out + done.err)

    def test_cancel(self):
        job_id = self.grid.submit(self.grid.job_file(["sleep", "600"]))
        self.assertEqual(self.grid.ok("job", "cancel", job_id).json()["state"], "cancelled")
        self.grid.wait_job(job_id, 5, "cancelled")
        self.assertEqual({shard["state"] for shard in self.grid.shards(job_id)}, {"cancelled"})

    def test_why_says_what_is_missing(self):
        file = self.grid.job_file(["true"], redundancy={"replicas": 2, "quorum": 2})
        job_id = self.grid.submit(file)
        why = " ".join(self.grid.ok("job", "why", job_id).json()["sentences"])
        self.assertIn("owner", why)
        self.grid.ok("job", "cancel", job_id)


if __name__ == "__main__":
    main()
