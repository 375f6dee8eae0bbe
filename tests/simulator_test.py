"""The simulator as scripts see it: a seed repeats, every kind of fault strikes, bad options are told."""
import json
import subprocess
import unittest

from grid import BIN


def run(*args):
    return subprocess.run([str(BIN / "corpgrid-sim"), *args], capture_output=True, text=True,
                          timeout=300)


class SimulatorTest(unittest.TestCase):
    def test_every_kind_of_fault_strikes_and_nothing_breaks(self):
        done = run("--runs", "20", "--events", "150000", "--json")
        self.assertEqual(done.returncode, 0, done.stdout)
        report = json.loads(done.stdout)
        self.assertEqual(report["violations"], 0)
        self.assertEqual(report["reproduce"], [])
        self.assertGreaterEqual(report["events"], 3_000_000)
        self.assertGreaterEqual(len(report["faults"]), 20)
        self.assertEqual([kind for kind, count in report["faults"].items() if count == 0], [])

    def test_a_seed_repeats_in_another_process(self):
        for store in ("memory", "sqlite"):
            lines = [run("--seed", "7", "--events", "40000", "--store", store).stdout.splitlines()
                     for _ in range(2)]
            hashes = [[line for line in text if line.startswith("hash: ")] for text in lines]
            self.assertEqual(len(hashes[0]), 1)
            self.assertEqual(hashes[0], hashes[1])
            self.assertEqual(lines[0][-1], "violations: 0")

    def test_simulated_time_may_be_given(self):
        report = json.loads(run("--days", "0.01", "--devices", "8", "--json").stdout)
        self.assertGreaterEqual(report["simulated_ms"] - report["calm_ms"], 864_000)

    def test_help_and_options_that_make_no_sense(self):
        done = run("--help")
        self.assertEqual(done.returncode, 0)
        self.assertIn("corpgrid-sim --seed 7 --days 30", done.stdout)
        for words in (["--devices", "0"], ["--days", "never"], ["--store", "tape"], ["--sede", "1"],
                      ["--days", "-1"]):
            done = run(*words)
            self.assertEqual(done.returncode, 2, words)
            self.assertIn(words[0], done.stderr, words)


if __name__ == "__main__":
    unittest.main(verbosity=2)
