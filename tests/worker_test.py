"""corpgrid-worker as a process: loads, answers, refuses, is killed, and ends only itself."""
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import tempfile
import unittest

from grid import BIN, seeded, wait
from serving import json_lines

WORKER = BIN / "corpgrid-worker"


class Worker:
    def __init__(self, folder, *options):
        self.socket = folder / f"{len(list(folder.iterdir()))}.sock"
        self.log = folder / f"{self.socket.name}.log"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen([WORKER, "--socket", self.socket, *options], stdout=log, stderr=log)
        wait(lambda: "ready" in self.log.read_text() or self.process.poll() is not None, 30, "the worker")

    def start(self, method, **request):
        return subprocess.Popen([BIN / "worker_client", self.socket, method, json.dumps(request)],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def call(self, method, **request):
        """The responses; or the error as a string."""
        out, err = self.start(method, **request).communicate(timeout=120)
        return err.strip() if err else json_lines(out)

    def text(self, **request):
        responses = self.call("Generate", **request)
        assert isinstance(responses, list), responses
        return "".join(part["text"] for r in responses for part in r["pieces"] + r["ends"])

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        return self.process.wait(30)


def part_of_two(model, index):
    """The file of a model as if it were one of two parts."""
    def value(name, kind, content):
        return struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", kind) + content

    more = (value("split.no", 2, struct.pack("<H", index)) + value("split.count", 2, struct.pack("<H", 2)) +
            value("split.tensors.count", 5, struct.pack("<i", 42)))
    filler = -(len(more) + len(value("filler", 8, b"")) + 8) % 32  # the weights begin at a multiple of 32
    more += value("filler", 8, struct.pack("<Q", filler) + bytes(filler))
    count = struct.unpack_from("<Q", model, 16)[0] + 4
    return model[:16] + struct.pack("<Q", count) + more + model[24:]


@unittest.skipUnless(WORKER.exists(), "built without the inference libraries")
class WorkerTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="corpgrid-worker.", dir="/var/tmp")
        cls.folder = pathlib.Path(cls.temporary.name)
        cls.model = cls.folder / "model.gguf"
        subprocess.run([BIN / "bench_make_model", cls.model, "Q8_0", "2", "64", "4", "2", "128", "400"], check=True)

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def setUp(self):
        self.workers = []

    def tearDown(self):
        for worker in self.workers:
            worker.close()

    def worker(self, load=True, **options):
        worker = Worker(self.folder)
        self.workers.append(worker)
        if load:
            loaded = worker.call("Load", path=str(self.model), threads=1, **options)
            self.assertIsInstance(loaded, list, loaded)
        return worker

    def test_answers_and_ends_in_order(self):
        worker = self.worker(sequences=4, context=512)
        greedy = {"text": "once upon a time", "max_tokens": 20, "sampling": {"temperature": 0}, "ignore_end": True}
        self.assertEqual(worker.text(**greedy), worker.text(**greedy))
        drawn = {"text": "once", "max_tokens": 20, "ignore_end": True}
        same = [worker.text(**drawn, sampling={"temperature": 1, "seed": 7}) for _ in range(2)]
        self.assertEqual(*same)
        self.assertNotEqual(same[0], worker.text(**drawn, sampling={"temperature": 1, "seed": 8}))
        made = worker.text(text="say", grammar='root ::= "yes" | "no"', sampling={"temperature": 1})
        self.assertIn(made, ("yes", "no"))
        self.assertRegex(worker.call("Generate", text="say", grammar="root ::= ("), "^3 .*not valid GBNF")
        chat = worker.call("RenderChat", messages='[{"role": "user", "content": "hello"}]')[0]["text"]
        self.assertEqual(chat, "<user>hello</user><assistant>")
        self.assertRegex(worker.call("RenderChat", messages="[1]"), '^3 .*without a "role"')
        self.assertTrue(worker.text(text=chat, special=True, max_tokens=5, ignore_end=True))
        mode = worker.socket.stat().st_mode & 0o777
        self.assertEqual(mode, 0o600, "others could ask, too")
        worker.process.terminate()
        self.assertEqual(worker.process.wait(30), 0)
        self.assertFalse(worker.socket.exists())

    def test_speaks_to_no_network(self):
        worker = self.worker()
        status = pathlib.Path(f"/proc/{worker.process.pid}/status").read_text()
        self.assertIn("Seccomp:\t2", status)
        descriptors = [os.readlink(d) for d in pathlib.Path(f"/proc/{worker.process.pid}/fd").iterdir()]
        inodes = {d[8:-1] for d in descriptors if d.startswith("socket:")}
        for table in ("tcp", "tcp6", "udp", "udp6"):
            lines = pathlib.Path(f"/proc/{worker.process.pid}/net/{table}").read_text().splitlines()[1:]
            self.assertFalse(inodes & {line.split()[9] for line in lines}, table)

    def test_refuses_files_that_are_no_models(self):
        random = seeded()
        good = self.model.read_bytes()
        bad = {"empty": b"", "text": b"no model\n" * 50, "short": good[:len(good) // 2], "header": good[:24],
               "huge counts": good[:8] + struct.pack("<QQ", 1 << 60, 1 << 60) + good[24:]}
        for number in range(12):  # whatever they say, a worker says so or ends alone
            cut = bytearray(good)
            for _ in range(random.randrange(1, 6)):
                cut[random.randrange(4096)] = random.randrange(256)
            bad[f"bytes {number}"] = bytes(cut)
        for name, content in bad.items():
            with self.subTest(name):
                path = self.folder / "bad.gguf"
                path.write_bytes(content)
                worker = self.worker(load=False)
                said = worker.call("Load", path=str(path), threads=1)
                if not name.startswith("bytes"):
                    self.assertIn("cannot be loaded: ", said)
                if worker.process.poll() is None:
                    self.assertIsInstance(worker.call("GetStats"), list)
                else:
                    self.assertRegex(worker.log.read_text(), "(?i)error|fail|assert|terminate|invalid")
                worker.close()

    def test_reads_no_files_but_models(self):
        with tempfile.TemporaryDirectory(prefix="corpgrid-elsewhere.", dir="/var/tmp") as elsewhere:
            other = pathlib.Path(elsewhere) / "model.gguf"
            other.write_bytes(self.model.read_bytes())
            for _ in range(2):
                worker = Worker(self.folder, "--read", self.folder)
                self.workers.append(worker)
            if "no Landlock" in worker.log.read_text():
                self.skipTest("this kernel has no Landlock")
            self.assertIn("cannot", self.workers[0].call("Load", path=str(other)))
            self.assertIsInstance(worker.call("Load", path=str(self.model), context=256), list)
            self.assertTrue(worker.text(text="hello", max_tokens=3, ignore_end=True))

    def test_tools_read_no_files_but_their_model(self):
        first, second = (self.folder / f"split-0000{number}-of-00002.gguf" for number in (1, 2))
        first.write_bytes(part_of_two(self.model.read_bytes(), 0))

        def inspect():
            done = subprocess.run([WORKER, "inspect", first], capture_output=True, text=True)
            if "no Landlock" in done.stderr:
                self.skipTest("this kernel has no Landlock")
            return done.stdout

        with tempfile.TemporaryDirectory(prefix="corpgrid-elsewhere.", dir="/var/tmp") as elsewhere:
            second.symlink_to(pathlib.Path(elsewhere) / "other.gguf")
            second.resolve().write_bytes(part_of_two(self.model.read_bytes(), 1))
            self.assertIn("failed to load GGUF split", inspect())
            second.resolve().replace(second)
            self.assertIn("duplicated", inspect())  # it was read: both parts have all the weights

    def test_refuses_what_does_not_fit(self):
        worker = self.worker(load=False)
        said = worker.call("Load", path=str(self.model), context=4096, memory_limit_bytes=1 << 20)
        self.assertRegex(said, "^8 .* needs about .* 1 MiB are allowed; load it with fewer sequences")
        worker = self.worker(sequences=2, context=256)
        said = worker.call("Generate", tokens={"tokens": [5] * 400})
        self.assertRegex(said, "^3 the prompt has 400 tokens .* a context of 256 tokens")

    def test_embeddings_stay_within_the_limit(self):
        texts = [{"tokens": [5, 6, 7]}]
        worker = self.worker(load=False)
        estimate = worker.call("Load", path=str(self.model), sequences=1, context=4096)[0]["estimate"]
        self.assertEqual(len(worker.call("Embed", texts=texts)[0]["embeddings"]), 1)  # no limit
        worker = self.worker(load=False)
        limit = sum(map(int, estimate.values())) + (1 << 20)
        self.assertIsInstance(worker.call("Load", path=str(self.model), sequences=1, context=4096,
                                          memory_limit_bytes=limit), list)
        self.assertRegex(worker.call("Embed", texts=texts), "^9 embeddings of up to 4096 tokens need about .* beside")
        self.assertEqual(worker.call("GetStats")[0]["embedder_bytes"], "0")
        worker.call("GetStats", memory_limit_bytes=limit << 4)  # others were unloaded
        self.assertEqual(len(worker.call("Embed", texts=texts)[0]["embeddings"]), 1)
        self.assertGreater(int(worker.call("GetStats")[0]["embedder_bytes"]), 1 << 20)
        self.assertTrue(worker.text(text="hello", max_tokens=3, ignore_end=True))

    def test_a_context_that_nobody_asks_for_is_one_it_was_trained_for(self):
        small = self.folder / "short.gguf"
        subprocess.run([BIN / "bench_make_architecture", small, "F16", "llama", "vocab_size=400", "context_length=64",
                        "embedding_length=64", "block_count=2", "feed_forward_length=128", "attention.head_count=4",
                        "attention.layer_norm_rms_epsilon=1e-5", "rope.dimension_count=16"], check=True, capture_output=True)
        for model, context in ((small, 64), (self.model, 4096)):
            self.assertEqual(self.worker(load=False).call("Load", path=str(model))[0]["context"], context)

    def test_bytes_that_are_no_calls_end_nothing(self):
        random = seeded()
        worker = self.worker(sequences=2, context=256)
        for _ in range(50):
            with socket.socket(socket.AF_UNIX) as raw:
                raw.connect(str(worker.socket))
                start = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" if random.random() < 0.5 else b""
                raw.sendall(start + random.randbytes(random.randrange(1, 2000)))
        self.assertTrue(worker.text(text="still there", max_tokens=3, ignore_end=True))

    def test_a_client_that_goes_is_computed_for_no_more(self):
        worker = self.worker(sequences=2, context=100_000)
        client = worker.start("Generate", text="go on", ignore_end=True)
        client.stdout.readline()
        self.assertEqual(worker.call("GetStats")[0]["running"], 1)
        client.kill()
        client.communicate()
        wait(lambda: worker.call("GetStats")[0]["running"] == 0, 30, "the end of the work")
        self.assertLess(int(worker.call("GetStats")[0]["answer_tokens"]), 99_000)

    def test_killed_workers_end_their_calls_and_no_other(self):
        random = seeded()
        other = self.worker(sequences=2, context=512)
        for _ in range(5):
            worker = self.worker(sequences=4, context=100_000)
            clients = [worker.start("Generate", text=f"go on {n}", ignore_end=True) for n in range(4)]
            for client in clients[:random.randrange(5)]:
                client.stdout.readline()
            worker.process.send_signal(random.choice([signal.SIGKILL, signal.SIGABRT]))
            for client in clients:
                _, err = client.communicate(timeout=60)
                self.assertRegex(err, "^14 ", "Unavailable: ask again elsewhere")
            self.assertLess(worker.process.wait(30), 0)
        self.assertTrue(other.text(text="still there", max_tokens=3, ignore_end=True))


if __name__ == "__main__":
    unittest.main(verbosity=2)
