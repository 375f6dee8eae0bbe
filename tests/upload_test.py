"""Models that people send to devices of a grid: hosted there, gone on with after kills, refused."""
import contextlib
import hashlib
import json
import pathlib
import signal
import subprocess
import unittest

from grid import BIN, main, seeded, wait
from serving import HAVE_WORKER, HostingGridTest


@unittest.skipUnless(HAVE_WORKER, "built without the inference libraries")
class UploadTest(HostingGridTest):
    agents, slots = 2, 1

    def prepare(self):
        super().prepare()
        for environment in self.grid.envs.values():
            environment["CORPGRID_MODELS"] = str(self.grid.folder / "none")
        self.grid.envs["agent-1"]["CORPGRID_MODEL_DISK"] = "1GiB"
        self.grid.envs["agent-2"]["CORPGRID_MODEL_DISK"] = "300MiB"

    def upload(self, *args, code=0, **options):
        reply = self.grid.cli("model", "upload", *args, "--models", self.store, **options)
        self.assertEqual(reply.code, code, str(reply))
        return reply

    def received(self, number):
        return pathlib.Path(self.grid.agent_folder(f"agent-{number}")) / "received"

    def big(self):
        """A GGUF file of some 350 MB, which takes seconds."""
        file = self.grid.folder / "big.gguf"
        subprocess.run([BIN / "bench_make_model", file, "F16", "32", "768", "8", "4", "1536", "4000"], check=True)
        return file

    def send(self, file):
        return subprocess.Popen([BIN / "corpgrid", "model", "upload", file, "--to", "agent-1", "--data", self.grid.data,
                                 "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def load(self, name, *options):
        return self.grid.ok("model", "load", name, "--context", 512, "--sequences", 4, *options).json()

    def there(self):
        """How much of the big model agent-1 has."""
        sizes = [0]
        for file in (".staging/big/big.gguf.part", ".staging/big/big.gguf", "big/big.gguf"):
            with contextlib.suppress(FileNotFoundError):
                sizes.append((self.received(1) / file).stat().st_size)
        return max(sizes)

    def receives(self, name):
        return any(d["receives"] for d in self.grid.ok("model", "resources").json()["devices"] if d["device"] == name)

    def await_more(self, least, more, whole):
        def grew():
            there = self.there()
            self.assertGreaterEqual(there, least, "something of it is lost")
            return there > more or there == whole
        wait(grew, 120, "more of it", 0.001)

    def test_it_is_hosted_where_it_was_sent(self):
        self.assertIn("no device has a model tiny", self.grid.cli("model", "load", "tiny").err)
        wait(lambda: self.receives("agent-1") and self.receives("agent-2"), 20, "both to be heard")
        sent = self.upload("tiny", "--to", "agent-2").json()
        self.assertEqual((sent["model"], sent["devices"]), ("tiny", ["agent-2"]))
        self.assertIn("tiny", self.upload("tiny", "--to", "agent-2", json_output=False).err)
        wait(lambda: self.grid.cli("model", "load", "tiny", "--no-wait").code == 0, 10, "the grid to know it")
        self.assertEqual([r["device"] for r in self.load("tiny")["replicas"]], ["agent-2"])
        self.assertEqual(self.load("tiny", "--type", "Q4_0")["type"], "Q4_0")
        self.upload("tiny", "--name", "both", "--to", "agent-1", "--to", "agent-2")
        wait(lambda: self.grid.cli("model", "load", "both", "--replicas", "2", "--no-wait").code == 0, 10, "it")
        wait(lambda: sum(r["state"] == "ready" for m in self.grid.ok("model", "ps").json()["models"]
                         for r in m["replicas"] if m["name"] == "both") == 2, 30, "both replicas")
        # Without a name it goes to one that takes it.
        self.assertEqual(len(self.upload(self.store.parent / "tiny.gguf", "--name", "third").json()["devices"]), 1)
        self.grid.ok("model", "rm", "tiny", "--from", "agent-2")
        wait(lambda: not next(m for m in self.grid.ok("model", "ps").json()["models"] if m["name"] == "tiny")
             ["replicas"], 20, "it to be unloaded")
        self.assertEqual(self.grid.cli("model", "rm", "tiny", "--from", "agent-2").code, 1)

    def test_kills_cost_no_byte_of_it(self):
        file, random = self.big(), seeded()
        size = file.stat().st_size
        wait(lambda: self.receives("agent-1"), 20, "the agent to be heard")
        sending = self.send(file)
        kept = 0
        for victim in ("agent-1", "scheduler", "agent-1"):
            self.await_more(kept, kept + random.randrange(size // 8), size)
            if victim == "scheduler":  # who sends does not wait for one that nobody looks after
                sending.kill()
                sending.communicate()
            kept = self.there()
            self.grid.kill(victim)
            if victim == "scheduler":
                self.grid.start_scheduler()
                wait(lambda: self.receives("agent-1"), 20, "the agent to be heard")
                sending = self.send(file)
            else:
                self.grid.start_agent(victim)
        self.await_more(kept, kept, size)
        out, err = sending.communicate(timeout=120)
        self.assertEqual(sending.returncode, 0, err)
        self.assertEqual(json.loads(out)["bytes"], size)
        [whole] = self.received(1).glob("big/*.gguf")
        self.assertEqual(hashlib.sha256(whole.read_bytes()).digest(), hashlib.sha256(file.read_bytes()).digest())

    def test_it_goes_on_where_it_was_stopped(self):
        file = self.big()
        size = file.stat().st_size
        wait(lambda: self.receives("agent-1"), 20, "the agent to be heard")
        sending = self.send(file)
        self.await_more(0, 0, size)
        sending.send_signal(signal.SIGINT)
        err = sending.communicate(timeout=30)[1]
        self.assertEqual(sending.returncode, 130, err)
        self.assertIn("goes on from there", err)
        kept = self.there()
        self.assertLess(kept, size)
        sending = self.send(file)
        self.await_more(kept, size - 1, size)
        err = sending.communicate(timeout=60)[1]
        self.assertEqual(sending.returncode, 0, err)

    def test_what_cannot_be_taken_is_refused(self):
        wait(lambda: self.receives("agent-1") and self.receives("agent-2"), 20, "both to be heard")
        self.assertRegex(self.upload("tiny", "--to", "agent-3", code=1).err, "agent-[12], agent-[12] do")
        self.assertIn("did you mean tiny?", self.upload("tinny", code=1).err)
        text = self.grid.folder / "text.gguf"
        text.write_text("no model at all")
        self.assertIn("no GGUF file", self.upload(text, "--to", "agent-1", code=2).err)
        self.assertEqual(list(self.received(1).glob(".staging/*")), [])
        self.upload("tiny", "--to", "agent-1")
        self.assertIn("another model tiny", self.upload(text, "--name", "tiny", "--to", "agent-1", code=1).err)
        huge = self.grid.folder / "huge.gguf"
        with huge.open("wb") as file:
            file.truncate(301 << 20)
        self.assertRegex(self.upload(huge, "--to", "agent-2", code=1).err, "huge has 301 MiB, and .* 300 MiB more")
        self.grid.kill("agent-2")
        self.grid.envs["agent-2"]["CORPGRID_MODEL_DISK"] = "0"
        self.grid.start_agent("agent-2")
        wait(lambda: "lends no disk" in self.grid.cli("model", "upload", "tiny", "--models", self.store, "--to",
                                                      "agent-2").err, 20, "its owner's word to count")


if __name__ == "__main__":
    main()
