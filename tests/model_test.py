"""corpgrid model: adds from files and from a hub that breaks off, lies and refuses; what it has is whole."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading
import unittest

from grid import BIN, wait
from hub import Hub, sha256
from namespaces import enter_namespace
from small_disk import SmallDisk

WORKER = BIN / "corpgrid-worker"
REPO = "org/repo"


@unittest.skipUnless(WORKER.exists(), "built without the inference libraries")
class ModelTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="corpgrid-model.", dir="/var/tmp")
        cls.fixtures = pathlib.Path(cls.temporary.name) / "fixtures"
        cls.fixtures.mkdir()
        cls.gguf = cls.fixtures / "tiny model.gguf"
        subprocess.run([BIN / "bench_make_model", cls.gguf, "F32", "2", "256", "4", "2", "512", "400"], check=True)
        cls.data = cls.gguf.read_bytes()

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=self.temporary.name))
        self.store = self.folder / "models"
        self.hub = Hub()
        self.addCleanup(self.hub.close)
        self.hub.repos[REPO] = {"tiny.gguf": self.data}

    def command(self, *words):
        return [BIN / "corpgrid", "model", *words, "--models", self.store, "--data", self.folder, "--json"]

    def environment(self, **more):
        env = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        return {**env, "HF_ENDPOINT": self.hub.url, **more}

    def run_model(self, *words, env=None):
        return subprocess.run(self.command(*words), capture_output=True, text=True, timeout=120,
                              env=self.environment(**(env or {})))

    def ok(self, *words, env=None):
        done = self.run_model(*words, env=env)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return json.loads(done.stdout)

    def refused(self, pattern, *words, code=1, env=None):
        done = self.run_model(*words, env=env)
        self.assertRegex(done.stderr, pattern)
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def names(self):
        return [model["name"] for model in self.ok("list")["models"]]

    def check_whole(self, name, data=None):
        model = self.ok("show", name)
        content = b"".join((self.store / name / file["name"]).read_bytes() for file in model["files"])
        self.assertEqual(content, self.data if data is None else data)
        self.assertEqual([sha256((self.store / name / f["name"]).read_bytes()) for f in model["files"]],
                         [f["sha256"] for f in model["files"]])
        left = sorted(os.listdir(self.store / name))
        self.assertEqual(left, sorted(["manifest.json", *(f["name"] for f in model["files"])]))
        self.assertEqual(os.listdir(self.store / ".staging"), [])
        return model

    def test_a_file_from_adding_to_removing(self):
        added = self.ok("add", self.gguf)
        self.assertEqual(added["name"], "tiny-model")
        facts = added["facts"]
        self.assertEqual((facts["architecture"], facts["layers"], facts["heads"], facts["kv_heads"]), ("llama", 2, 4, 2))
        self.assertEqual((facts["vocabulary"], facts["trained_context"]), (400, 8192))
        self.assertTrue(added["verdict"]["loads"] and added["verdict"]["generates"] and added["verdict"]["tried"])
        self.assertIn("<assistant>", facts["chat_template"])
        shown = self.check_whole("tiny-model")
        more = self.ok("show", "tiny-model", "--context", "8192", "--sequences", "32")
        self.assertEqual(more["estimate"]["kv_bytes"], 4 * shown["estimate"]["kv_bytes"])
        self.refused("there is a model tiny-model already", "add", self.gguf)
        self.refused('no model "tinymodel"; did you mean tiny-model\\?', "show", "tinymodel")
        self.refused("is no name for a model", "add", self.gguf, "--name", "../up", code=2)
        self.refused("should be", "add", self.gguf, "--name", "other", "--sha256", "0" * 64)
        shutil.copytree(self.store, self.folder / "data/models")
        words = [BIN / "corpgrid", "__complete", "--", "model", "show", "--data", self.folder / "data", "t"]
        self.assertEqual(subprocess.run(words, capture_output=True, text=True).stdout, "tiny-model\n")
        self.ok("rm", "tiny-model")
        self.assertEqual(self.names(), [])
        self.refused("no model", "rm", "tiny-model")
        self.assertEqual(os.listdir(self.store / ".removed"), [])

    def test_a_linked_file_is_the_same_file(self):
        self.ok("add", self.gguf, "--link", "--name", "linked")
        self.assertEqual((self.store / "linked" / "tiny_model.gguf").stat().st_ino, self.gguf.stat().st_ino)
        self.check_whole("linked")
        self.ok("rm", "linked")
        self.assertEqual(self.gguf.read_bytes(), self.data)

    def peer(self, name):
        """The command of one of llama.cpp's programs, and the folder where it finds its backends."""
        private = BIN.parent.parent / ".deps/inference/usr"
        if shutil.which(name):
            return [name], None
        if not (private / "bin" / name).exists():
            self.skipTest(f"no {name} here")
        libraries = next(private.glob("lib/*/libllama.so.0")).parent
        loader = next(libraries.glob("ld-linux*.so.*"))
        return [loader, "--library-path", f"{libraries}:{libraries}/llama", private / "bin" / name], libraries / "ggml/backends0"

    def split(self):
        tool, where = self.peer("llama-gguf-split")
        subprocess.run([*tool, "--split", "--split-max-size", "1M", self.gguf, self.folder / "part"],
                       check=True, capture_output=True, cwd=where)
        parts = {path.name: path.read_bytes() for path in self.folder.glob("part-*.gguf")}
        self.assertGreater(len(parts), 2)
        return parts

    def test_all_parts_of_a_split_model_come(self):
        parts = self.split()
        whole = b"".join(parts[name] for name in sorted(parts))
        self.ok("add", self.folder / sorted(parts)[1], "--name", "local")
        self.check_whole("local", whole)
        self.hub.repos[REPO] = {f"sub/{name}": data for name, data in parts.items()}
        added = self.ok("add", f"hf://{REPO}/sub/{sorted(parts)[0]}")
        self.assertEqual(added["name"], "part")
        self.check_whole("part", whole)
        paths = [path for server, _, path, _ in self.hub.requests if server == "hub"]
        self.assertIn("/main/", paths[0])
        self.assertTrue(all("/main/" not in path for path in paths[1:]), "parts of two revisions may be mixed")
        del self.hub.repos[REPO][f"sub/{sorted(parts)[2]}"]
        self.refused("there is no sub/part-00003", "add", f"hf://{REPO}/sub/{sorted(parts)[0]}", "--name", "torn")
        self.assertNotIn("torn", self.names())

    def test_the_token_goes_to_the_hub_alone(self):
        self.hub.gated[REPO] = "hf_secret"
        self.refused("needs a token.*HF_TOKEN", "add", f"hf://{REPO}/tiny.gguf")
        self.refused("gated; ask for access", "add", f"hf://{REPO}/tiny.gguf", env={"HF_TOKEN": "hf_other"})
        added = self.ok("add", f"hf://{REPO}/tiny.gguf", env={"HF_TOKEN": "hf_secret"})
        self.assertEqual(added["source"], f"hf://{REPO}@{'a' * 40}/tiny.gguf")
        self.check_whole("tiny")
        with_token = [r for r in self.hub.requests if "Authorization" in r[3]]
        self.assertTrue(with_token)
        self.assertEqual({server for server, *_ in with_token}, {"hub"})
        token = self.folder / "token"
        token.write_text("hf_secret\n")
        done = self.run_model("add", f"hf://{REPO}/tiny.gguf", "--name", "again", "--token", f"@{token}")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("hf_secret", done.stdout + done.stderr)
        for path in self.store.rglob("*.json"):
            self.assertNotIn("secret", path.read_text())

    def test_what_breaks_off_is_gone_on_with(self):
        for etags in (True, False):  # the hub's hash alone is enough
            with self.subTest(etags=etags):
                self.hub.etags, self.hub.sent, self.hub.requests = etags, 0, []
                self.hub.cuts = [100_000, 1, 0, 300_000]
                self.ok("add", f"hf://{REPO}/tiny.gguf", "--name", f"cut-{etags}")
                self.check_whole(f"cut-{etags}")
                self.assertEqual(self.hub.ranges(), ["bytes=100000-", "bytes=100001-", "bytes=100001-", "bytes=400001-"])
                self.assertEqual(self.hub.sent, len(self.data), "bytes were fetched twice")
        # What nothing vouches for begins anew.
        self.hub.files["/m.gguf"], self.hub.requests, self.hub.cuts, self.hub.sent = self.data, [], [100_000], 0
        self.ok("add", f"{self.hub.host.url}/m.gguf", "--name", "anew")
        self.check_whole("anew")
        self.assertEqual((self.hub.ranges(), self.hub.sent), ([], 100_000 + len(self.data)))
        self.hub.cuts = [0] * 100
        self.refused("6 tries", "add", f"hf://{REPO}/tiny.gguf", "--name", "never")

    def kill_in_the_middle(self, source, how=signal.SIGKILL, size=200_000):
        """The exit code of a `model add` that is sent a signal when `size` bytes are there."""
        self.hub.hold, self.hub.cuts = threading.Event(), [size]
        adding = subprocess.Popen(self.command("add", source, "--name", "killed"), env=self.environment(),
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        wait(lambda: any(part.stat().st_size >= size for part in self.store.glob(".staging/killed/*.part")), 30, "bytes")
        listed = self.ok("list")
        self.assertEqual([(one["name"], one["running"]) for one in listed["unfinished"]], [("killed", True)])
        self.assertEqual(listed["models"], [])
        self.refused("another process is adding", "add", source, "--name", "killed")
        self.refused("another process is adding", "rm", "killed")
        adding.send_signal(how)
        _, said = adding.communicate(timeout=30)
        self.hub.hold.set()
        self.hub.hold, self.hub.cuts = None, []
        return adding.returncode, said

    def test_a_killed_adding_is_gone_on_with(self):
        code, _ = self.kill_in_the_middle(f"hf://{REPO}/tiny.gguf")
        self.assertEqual(code, -signal.SIGKILL)
        self.assertFalse(self.ok("list")["unfinished"][0]["running"])
        self.hub.requests = []
        self.ok("add", f"hf://{REPO}/tiny.gguf", "--name", "killed")
        self.assertEqual(self.hub.ranges(), ["bytes=200000-"])
        self.check_whole("killed")

    def test_ctrl_c_stops_it(self):
        code, said = self.kill_in_the_middle(f"hf://{REPO}/tiny.gguf", signal.SIGINT)
        self.assertEqual(code, 130, said)
        self.assertIn("stopped", said)
        self.ok("rm", "killed")
        self.assertEqual(self.ok("list")["unfinished"], [])

    def test_an_address_for_get_alone(self):
        self.hub.files["/m.gguf"] = self.data
        url = f"{self.hub.host.url}/m.gguf?signature=secret"
        for status in (403, 405, 501):
            with self.subTest(status=status):
                self.hub.refused_methods, self.hub.cuts = {"HEAD": status}, [100_000]
                self.hub.requests, self.hub.sent = [], 0
                self.ok("add", url, "--name", f"get-{status}")
                self.check_whole(f"get-{status}")
                self.assertEqual((self.hub.ranges(), self.hub.sent), (["bytes=100000-"], len(self.data)))
        # GET has the last word; and a hub's HEAD is believed.
        self.hub.refused_methods = {"HEAD": 403, "GET": 403}
        self.refused("m.gguf does not let you in .403.", "add", url, "--name", "never")
        self.hub.refused_methods = {"HEAD": 403}
        self.refused("there is nothing at", "add", f"{self.hub.host.url}/none.gguf")
        self.hub.refusals, self.hub.requests = [(403, {})], []
        self.refused("gated; ask for access", "add", f"hf://{REPO}/tiny.gguf")
        self.assertEqual([method for _, method, *_ in self.hub.requests], ["HEAD"])

    def test_a_file_of_unknown_size_is_gone_on_with(self):
        self.hub.files["/m.gguf"], self.hub.refused_methods = self.data, {"HEAD": 403}
        url = f"{self.hub.host.url}/m.gguf?signature=secret"
        self.kill_in_the_middle(url)
        self.hub.requests = []
        self.ok("add", url, "--name", "killed")
        self.assertEqual(self.hub.ranges(), ["bytes=200000-"])
        self.check_whole("killed")
        self.ok("rm", "killed")
        # All of it was there when the first try was killed.
        self.kill_in_the_middle(url)
        (self.store / ".staging/killed/m.gguf.part").write_bytes(self.data)
        self.hub.requests, self.hub.sent = [], 0
        self.ok("add", url, "--name", "killed")
        self.assertEqual((self.hub.ranges(), self.hub.sent), ([f"bytes={len(self.data)}-"], 0))
        self.check_whole("killed")

    def test_a_file_that_changed_begins_anew(self):
        self.hub.files["/m.gguf"] = self.data
        url = f"{self.hub.host.url}/m.gguf?key=secret"
        self.kill_in_the_middle(url)
        changed = self.data[:150_000] + b"\0\0\0\0" + self.data[150_004:]  # in what came before
        self.hub.files["/m.gguf"] = changed
        self.hub.requests = []
        added = self.ok("add", url, "--name", "killed")
        self.assertEqual(self.hub.ranges(), ["bytes=200000-"])
        self.check_whole("killed", changed)
        self.assertEqual(added["source"], f"{self.hub.host.url}/m.gguf")
        # The same by the hub's hash: there the old bytes are not even asked about.
        self.ok("rm", "killed")
        self.kill_in_the_middle(f"hf://{REPO}/tiny.gguf")
        self.hub.repos[REPO]["tiny.gguf"] = changed
        self.hub.requests = []
        self.ok("add", f"hf://{REPO}/tiny.gguf", "--name", "killed")
        self.assertEqual(self.hub.ranges(), [])
        self.check_whole("killed", changed)

    def test_damage_is_seen(self):
        self.hub.said_sha256 = "0" * 64
        self.refused("the SHA-256 of tiny.gguf is [0-9a-f]{64} and should be 0{64}", "add", f"hf://{REPO}/tiny.gguf")
        self.hub.said_sha256, self.hub.said_size = None, len(self.data) + 1
        self.refused(f"the server has {len(self.data)} bytes of tiny.gguf, which should have {len(self.data) + 1}",
                     "add", f"hf://{REPO}/tiny.gguf")
        self.assertEqual(self.names(), [])
        self.hub.said_size = None
        self.ok("add", f"hf://{REPO}/tiny.gguf")
        file = self.store / "tiny" / "tiny.gguf"
        file.write_bytes(self.data[:-1])
        self.refused("should have", "show", "tiny")
        self.assertIn("tiny", self.ok("list")["damaged"][0])
        (self.store / "tiny" / "manifest.json").write_text("{")
        self.refused("manifest", "show", "tiny")
        self.ok("rm", "tiny")

    def test_damage_of_what_was_kept_is_mended(self):
        self.kill_in_the_middle(f"hf://{REPO}/tiny.gguf")
        part = self.store / ".staging/killed/tiny.gguf.part"
        part.write_bytes(b"GGUF" + bytes(part.stat().st_size - 4))
        self.ok("add", f"hf://{REPO}/tiny.gguf", "--name", "killed")
        self.check_whole("killed")

    def test_refusals_say_what_to_do(self):
        self.refused("there is no repository .*org/none", "add", "hf://org/none/x.gguf")
        self.refused("there is no other.gguf at .*revision main", "add", f"hf://{REPO}/other.gguf")
        self.refused("names no file", "add", f"hf://{REPO}", code=2)
        self.refused("only https is", "add", "http://192.0.2.1/x.gguf", code=2)
        self.hub.redirect = "http://192.0.2.1/x.gguf"
        self.refused("only https is", "add", f"hf://{REPO}/tiny.gguf", code=2)
        self.hub.redirect = f"{self.hub.url}/{REPO}/resolve/main/tiny.gguf"
        self.refused("redirects more than", "add", f"hf://{REPO}/tiny.gguf")
        self.hub.redirect = None
        self.hub.refusals = [(429, {"Retry-After": "0"}), (503, {}), (500, {})]
        self.ok("add", f"hf://{REPO}/tiny.gguf")
        self.hub.refusals = [(429, {"Retry-After": "3600"})]
        self.refused("asked too often.*with a token.*try again in 1 h", "add", f"hf://{REPO}/tiny.gguf", "--name", "x")
        self.assertEqual(self.hub.refusals, [], "it waited for an hour, or asked again at once")
        self.hub.close()
        self.refused("(?i)connect", "add", f"hf://{REPO}/tiny.gguf", "--name", "x")

    def test_what_is_no_model_is_not_kept(self):
        self.hub.files.update({"/page.gguf": b"<html>" + b"x" * 1_000_000, "/empty.gguf": b""})
        self.refused("is no GGUF file", "add", f"{self.hub.host.url}/page.gguf", code=2)
        bad = {"empty": (b"", 2), "text": (b"no model " * 50, 2), "header": (self.data[:24], 2),
               "cut": (self.data[:len(self.data) // 2], 1), "counts": (self.data[:8] + b"\xff" * 16 + self.data[24:], 2)}
        for name, (content, code) in bad.items():
            with self.subTest(name):
                path = self.folder / "bad.gguf"
                path.write_bytes(content)
                done = self.refused("bad.gguf is no GGUF file|cannot host bad", "add", path, code=code)
                self.assertNotIn(".staging", done.stderr)
        self.assertEqual(self.names(), [])
        unknown = self.data.replace(b"llama", b"lambda"[:5])
        (self.folder / "unknown.gguf").write_bytes(unknown)
        self.refused("cannot host unknown: .*unknown model architecture: 'lambd'", "add", self.folder / "unknown.gguf")
        added = self.ok("add", self.folder / "unknown.gguf", "--anyway")
        self.assertFalse(added["verdict"]["loads"])
        self.assertEqual(added["facts"]["architecture"], "lambd")
        self.assertIsNone(self.ok("show", "unknown")["estimate"])

    def test_a_full_disk_is_said_and_gone_on_after(self):
        self.store.mkdir()
        disk = SmallDisk(self.store, "12m")
        self.addCleanup(disk.unmount)
        disk.fill(leave_kib=500)
        self.refused("more are needed in .*, and its disk has 4.. KiB left", "add", f"hf://{REPO}/tiny.gguf")
        self.refused("more are needed in", "add", self.gguf)
        disk.free()
        # Others fill it while the file comes.
        self.hub.hold, self.hub.cuts = threading.Event(), [200_000]
        adding = subprocess.Popen(self.command("add", f"hf://{REPO}/tiny.gguf"), env=self.environment(),
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        wait(lambda: any(part.stat().st_size >= 200_000 for part in self.store.glob(".staging/tiny/*.part")), 30, "bytes")
        disk.fill()
        self.hub.hold.set()
        _, said = adding.communicate(timeout=60)
        self.assertEqual(adding.returncode, 1, said)
        self.assertIn("No space left", said)
        self.assertEqual(self.names(), [])
        disk.free()
        self.ok("add", f"hf://{REPO}/tiny.gguf")
        self.check_whole("tiny")
        disk.fill(leave_kib=200)
        self.refused("more are needed in", "quantize", "tiny", "--type", "Q8_0")
        self.assertEqual(self.names(), ["tiny"])

    def test_other_types_of_weights(self):
        self.ok("add", self.gguf, "--name", "tiny-F32")
        self.refused("is no type of weights .did you mean Q4_K_M.*these are: F32 F16", "quantize", "tiny-F32",
                     "--type", "Q4_KM", code=2)
        made = self.ok("quantize", "tiny-F32", "--type", "q8_0")
        self.assertEqual((made["name"], made["facts"]["quantisation"]), ("tiny-F32-Q8_0", "Q8_0"))
        self.assertLess(made["bytes"], self.ok("show", "tiny-F32")["bytes"] / 3)
        self.refused("already", "quantize", "tiny-F32", "--type", "Q8_0")
        text = self.folder / "text"
        text.write_text("once upon a time there was a grid of machines " * 60)
        types = self.ok("bench", "tiny-F32", "--types", "Q8_0,Q4_0", "--text", text, "--tokens", "1024")["types"]
        self.assertIn("all F32", types[0]["type"])
        self.assertEqual([one["type"] for one in types[1:]], ["Q8_0", "Q4_0"])
        self.assertIsNone(types[0]["mean_divergence"])
        self.assertLess(0, types[1]["mean_divergence"])
        self.assertLess(types[1]["mean_divergence"], types[2]["mean_divergence"])
        self.assertTrue(all(one["answer_tokens_per_s"] > 0 and one["perplexity"] > 1 for one in types))
        self.refused("the text has .* 512 are needed", "bench", "tiny-F32", "--text", "/dev/null", code=2)
        self.assertEqual(self.names(), ["tiny-F32", "tiny-F32-Q8_0"])
        self.assertEqual(os.listdir(self.store / ".staging"), [])


if __name__ == "__main__":
    enter_namespace("m")
    unittest.main(verbosity=2)
