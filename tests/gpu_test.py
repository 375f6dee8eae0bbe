"""Models on a GPU: one that Mesa's software driver plays, slowly, and to the library like any other."""
import glob
import json
import os
import pathlib
import subprocess
import tempfile
import unittest
from unittest import mock

from grid import main, wait
from serving import HAVE_WORKER, HostingGridTest, Serving
from worker_test import WORKER, Worker

DRIVER = glob.glob("/usr/share/vulkan/icd.d/lvp_icd*.json")
SOFTWARE = {"VK_DRIVER_FILES": ":".join(DRIVER), "GGML_VK_VISIBLE_DEVICES": "0"}
GPU = "Vulkan0"
MODEL = pathlib.Path(__file__).resolve().parent.parent / "tools/demo-model/corpgrid-demo.gguf"
EMBEDDED = 1024  # tokens: more than a hundredth of the GPU has room for at once
QUESTION = {"text": "CorpGrid is", "max_tokens": 4, "sampling": {"temperature": 0}, "ignore_end": True}


def needed(estimate):
    return sum(int(value) for name, value in estimate.items() if name != "gpu_bytes")


@unittest.skipUnless(HAVE_WORKER and DRIVER, "no worker, or no mesa-vulkan-drivers")
class GpuWorkerTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="corpgrid-gpu.", dir="/var/tmp")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        environment = mock.patch.dict(os.environ, SOFTWARE)
        environment.start()
        self.addCleanup(environment.stop)

    def worker(self, *options):
        worker = Worker(self.folder, "--read", MODEL.parent, *options)
        self.addCleanup(worker.close)
        return worker

    def load(self, worker, sequences=4, **options):
        answer = worker.call("Load", path=str(MODEL), sequences=sequences, context=512, threads=2, **options)
        return answer[0] if isinstance(answer, list) else answer

    def listed(self, environment):
        out = subprocess.run([WORKER, "gpus"], env={**os.environ, **environment}, check=True, capture_output=True)
        return json.loads(out.stdout)["result"]["gpus"]

    def test_lists_gpus_with_their_memory(self):
        gpu, = self.listed({})
        self.assertEqual((gpu["name"], gpu["backend"]), (GPU, "vulkan"))
        self.assertIn("llvmpipe", gpu["description"])
        self.assertGreaterEqual(gpu["total_bytes"], gpu["free_bytes"])
        self.assertGreater(gpu["free_bytes"], 1 << 28)
        self.assertEqual(self.listed({"VK_DRIVER_FILES": "/nowhere.json"}), [])

    def test_computes_what_processors_compute(self):
        worker = self.worker("--gpus")
        loaded = self.load(worker, gpu_percent=100)
        self.assertEqual(loaded["gpu"], GPU, loaded["why_no_gpu"])
        self.assertGreater(int(loaded["estimate"]["gpu_bytes"]), MODEL.stat().st_size)
        text = worker.text(**QUESTION)
        peak = int(worker.call("GetStats")[0]["peak_resident_bytes"])  # this GPU's memory is the machine's
        self.assertLess(peak, 1.05 * needed(loaded["estimate"]))
        other = self.worker()
        self.assertEqual(self.load(other)["gpu"], "")
        self.assertEqual(other.text(**QUESTION), text)

    def test_processors_compute_what_has_no_room_on_it(self):
        worker = self.worker("--gpus")
        answer = self.load(worker, gpu_percent=1, sequences=64)
        self.assertEqual((answer["gpu"], answer["estimate"]["gpu_bytes"]), ("", "0"))
        self.assertRegex(answer["why_no_gpu"], rf"it needs about \d.* of {GPU} .*, and .* of the .* are free")
        self.assertTrue(worker.text(**QUESTION))
        answer = self.load(self.worker("--gpus"), gpu_percent=100, memory_limit_bytes=150 << 20)  # not for a driver
        self.assertRegex(answer["why_no_gpu"], rf"beside {GPU} it needs about .*, and 150 MiB are allowed")
        self.assertEqual(self.load(self.worker("--gpus"), gpu_percent=101), "3 101 % of a GPU is no part of it")
        without = self.worker()  # that was not started for one
        self.assertEqual(self.load(without, gpu_percent=100)["why_no_gpu"], "there is none")

    def test_embeddings_keep_to_the_owners_share(self):
        """Refused where a hundredth is less than they take: Mesa 25 has the machine's memory, 22 less."""
        small = self.listed({})[0]["total_bytes"] < 4 << 30
        for percent, refused in ((1, True), (100, False)) if small else ((100, False),):
            worker = self.worker("--gpus")
            loaded = worker.call("Load", path=str(MODEL), sequences=1, context=EMBEDDED, threads=2, step_tokens=64,
                                 gpu_percent=percent)[0]
            self.assertEqual(loaded["gpu"], GPU, loaded["why_no_gpu"])
            made = worker.call("Embed", texts=[{"tokens": [300, 301]}])
            if refused:
                self.assertRegex(made, rf"^9 embeddings of up to {EMBEDDED} tokens need about .* of {GPU} .* are free")
            else:
                self.assertIsInstance(made, list, made)

    def test_serve_answers_from_it(self):
        server = Serving(MODEL, sequences=2, context=256)
        self.addCleanup(server.close)
        self.assertIn(f"the model is on {GPU}", server.logged())
        status, _, answer = server.ask("/v1/completions", {"model": "corpgrid-demo", "prompt": "CorpGrid is",
                                                           "max_tokens": 2, "temperature": 0})
        self.assertEqual(status, 200, answer)


@unittest.skipUnless(HAVE_WORKER and DRIVER, "no worker, or no mesa-vulkan-drivers")
class GpuGridTest(HostingGridTest):
    agents, slots = 2, 1

    def prepare(self):
        super().prepare()
        self.grid.envs["agent-1"] |= {**SOFTWARE, "CORPGRID_GPUS": "true"}
        self.grid.envs["agent-2"] |= SOFTWARE  # whose owner does not lend it

    def test_a_model_goes_to_a_gpu_where_there_is_one(self):
        loaded = self.grid.ok("model", "load", "tiny", "--context", 256, "--sequences", 2, "--replicas", 2).json()
        self.assertEqual(len(loaded["replicas"]), 2)
        resources = {b["backend"]: b for b in self.grid.ok("model", "resources").json()["backends"]}
        self.assertEqual({name: b["devices"] for name, b in resources.items()}, {"cpu": 2, "vulkan": 1})
        self.assertGreater(resources["vulkan"]["free_bytes"], 0)
        self.assertRegex(self.grid.ok("model", "resources", json_output=False).out, r"(?m)^vulkan +1 +1 ")
        (gpus,) = [d["gpus"] for d in self.grid.ok("model", "resources").json()["devices"] if d["gpus"]]
        self.assertEqual([(g["name"], g["backend"]) for g in gpus], [(GPU, "vulkan")])
        self.assertGreater(gpus[0]["total_bytes"], gpus[0]["free_bytes"])
        wait(self.all_ready, 60, "both replicas")
        places = {r["device"]: r["gpu"] for r in self.grid.ok("model", "ps").json()["models"][0]["replicas"]}
        self.assertEqual(places, {"agent-1": GPU, "agent-2": ""})
        self.assertRegex(self.grid.ok("model", "ps", json_output=False).out, rf"(?m)^tiny +ready +agent-1 {GPU} ")

    def all_ready(self):
        model, = self.grid.ok("model", "ps").json()["models"]
        return [r["state"] for r in model["replicas"]] == ["ready", "ready"]


if __name__ == "__main__":
    main()
