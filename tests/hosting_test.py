"""Models on a grid of real processes: placed, asked, moved when a worker or a device dies, unloaded."""
import json
import os
import pathlib
import re
import signal
import subprocess
import time
import unittest

from grid import BIN, descendants, main, wait
from serving import ENVIRONMENT, HAVE_OPENAI, HAVE_WORKER, GridGateway, HostingGridTest, counts, json_lines

WORKER = BIN / "corpgrid-worker"
DEMO = pathlib.Path(__file__).resolve().parent.parent / "tools/demo-model/corpgrid-demo.gguf"
SCRIPTS = pathlib.Path(__file__).resolve().parent / "openai_conformance"
GREEDY = {"max_tokens": 12, "sampling": {"temperature": 0}, "ignore_end": True}


@unittest.skipUnless(HAVE_WORKER, "built without the inference libraries")
class HostingTest(HostingGridTest):
    agents, slots = 2, 1

    def prepare(self):
        super().prepare()
        for environment in self.grid.envs.values():
            environment["CORPGRID_METRICS"] = "127.0.0.1:0"

    def load(self, *options, context=512):
        return self.grid.ok("model", "load", "tiny", "--context", context, "--sequences", "4", *options).json()

    def shown(self):
        return next((m for m in self.grid.ok("model", "ps").json()["models"] if m["name"] == "tiny"), None)

    def ready(self):
        return [r["device"] for r in self.shown()["replicas"] if r["state"] == "ready"]

    def ask(self, method="Infer", **request):
        token = json.loads((self.grid.data / "grid.json").read_text())["token"]
        return subprocess.Popen([BIN / "worker_client", self.grid.address, method, json.dumps(request), token],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def text(self, **request):
        out, err = self.ask(**request).communicate(timeout=120)
        self.assertEqual(err, "")
        parts = [part for r in json_lines(out) for part in r["pieces"] + r["ends"]]
        return "".join(part["text"] for part in parts)

    def workers(self):
        return {name: [p for p in descendants(process.pid) if p.command().startswith(str(WORKER))]
                for name, process in self.grid.running.items() if name.startswith("agent")}

    def worker_pids(self):
        return [p.pid for workers in self.workers().values() for p in workers]

    def refusals(self):
        """How many models each agent counted that its worker refused for want of memory."""
        logs = [(self.grid.folder / f"agent-{number}.log").read_text() for number in (1, 2)]
        ports = [re.search(r"metrics at port (\d+)", log)[1] for log in logs]
        return [counts(port)['corpgrid_vram_limit_errors_total{kind="model"}'] for port in ports]

    def test_load_ask_unload(self):
        loaded = self.load()
        self.assertEqual(len(loaded["replicas"]), 1)
        generate = {"text": "once upon a time", **GREEDY}
        once = self.text(model="tiny", generate=generate)
        self.assertGreater(len(once), 0)
        self.assertEqual(once, self.text(model="tiny", generate=generate))
        resources = json.loads(self.ask("ClusterResources").communicate(timeout=60)[0])["backends"]
        self.assertEqual([(b["backend"], b["devices"], b["taking"]) for b in resources], [("cpu", 2, 2)])
        self.assertLess(int(resources[0]["free_bytes"]), int(resources[0]["limit_bytes"]))
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        for device in self.grid.ok("model", "resources").json()["devices"]:
            self.assertAlmostEqual(device["total_bytes"] / machine, 1, delta=0.05)
        table = self.grid.ok("model", "ps", json_output=False).out
        self.assertRegex(table, r"(?m)^tiny +ready +agent-\d ")
        self.grid.ok("model", "unload", "tiny")
        wait(lambda: not self.worker_pids(), 20, "its worker to end")
        self.assertIn("is not loaded", self.ask(model="tiny", generate=generate).communicate(timeout=60)[1])
        self.assertIn("did you mean tiny?", self.grid.cli("model", "load", "tinny").err)
        log = self.grid.ok("audit", "list").out
        self.assertIn("model loaded", log)
        self.assertIn("model unloaded", log)

    def assert_answered_or_unavailable(self, asked):
        # communicate() would lose what readline() has in its buffer.
        out, err = asked.stdout.read(), asked.stderr.read()
        asked.wait(60)
        answered = sum(len(r["ends"]) for r in json_lines(out))
        self.assertTrue(answered == 1 or "14 " in err, err)

    def test_a_killed_worker_fails_its_requests_and_is_replaced(self):
        where = self.load()["replicas"][0]["device"]
        slow = self.ask(model="tiny", generate={"text": "a", "ignore_end": True, "max_tokens": 400})
        self.assertIn('"text"', slow.stdout.readline())
        os.kill(self.workers()[where][0].pid, signal.SIGKILL)
        self.assert_answered_or_unavailable(slow)
        other = next(name for name in ("agent-1", "agent-2") if name != where)
        wait(lambda: self.ready() == [other], 30, "the other device to host it")
        self.assertGreater(len(self.text(model="tiny", generate={"text": "a", **GREEDY})), 0)
        failure = self.shown()["last_failure"]
        self.assertEqual(failure["device"], where)
        self.assertIn("signal 9", failure["error"])
        self.assertRegex(self.grid.ok("model", "ps", json_output=False).err,
                         rf"tiny failed on {where} .* ago, and is back: .*signal 9")

    def test_a_killed_agent_takes_its_workers_along_and_the_model_moves(self):
        where = self.load()["replicas"][0]["device"]
        left = self.grid.kill(where)
        wait(lambda: not any(p.alive() for p in left), 10, "its worker to end")
        wait(lambda: self.ready() and self.ready() != [where], 40, "the other device to host it")
        self.assertGreater(len(self.text(model="tiny", generate={"text": "a", **GREEDY})), 0)

    def test_another_replica_disturbs_no_answer(self):
        self.load()
        first = set(self.worker_pids())
        slow = self.ask(model="tiny", generate={"text": "a", "ignore_end": True, "max_tokens": 400})
        self.assertIn('"text"', slow.stdout.readline())
        self.load("--replicas", "2", "--idle-unload", "1h")
        wait(lambda: len(self.ready()) == 2, 30, "the second")
        self.assertEqual(slow.communicate(timeout=60)[1], "")
        self.assertLess(first, set(self.worker_pids()))

    def test_a_restarted_scheduler_finds_it_where_it_is(self):
        self.load("--replicas", "2")
        wait(lambda: len(self.ready()) == 2, 30, "both")
        before = self.worker_pids()
        self.grid.kill("scheduler")
        self.grid.start_scheduler()
        wait(lambda: len(self.ready()) == 2, 30, "both to be found")
        self.assertEqual(self.worker_pids(), before)
        self.assertGreater(len(self.text(model="tiny", generate={"text": "a", **GREEDY})), 0)

    def test_idle_sleeps_and_a_request_wakes_it(self):
        self.load("--idle-unload", "3s")
        wait(lambda: self.shown()["asleep"], 30, "it to sleep")
        wait(lambda: not self.worker_pids(), 20, "its worker to end")
        self.assertGreater(len(self.text(model="tiny", generate={"text": "a", **GREEDY})), 0)

    def test_who_asks_for_embeddings_keeps_it_awake(self):
        gateway = self.gateway()
        loaded = self.load("--idle-unload", "3s")["replicas"][0]["needs_bytes"]
        embed = {"model": "tiny", "input": "a"}
        wait(lambda: gateway.ask("/v1/embeddings", embed)[0] == 200, 30, "the gateway to know it")
        workers = self.worker_pids()
        for _ in range(12):
            time.sleep(0.5)
            self.assertEqual(gateway.ask("/v1/embeddings", embed)[0], 200)
        # What they take counts towards what the owner lends.
        self.assertGreater(self.shown()["replicas"][0]["needs_bytes"], loaded)
        self.assertEqual(self.worker_pids(), workers, "it was unloaded between")

    def test_what_does_not_fit_is_refused_with_the_figures(self):
        self.assertEqual(self.refusals(), [0, 0])
        reply = self.grid.cli("model", "load", "tiny", "--context", "65536", "--sequences", "64")
        self.assertEqual(reply.code, 1, str(reply))
        self.assertRegex(reply.err, r"needs about [\d.]+ GiB .* and 512 MiB are allowed")
        self.assertRegex(self.shown()["why"], "device 1 .*device 2 ")
        refusals = self.refusals()
        self.assertGreaterEqual(min(refusals), 1, refusals)
        # Asked for less, it is loaded at once.
        needs = self.load()["replicas"][0]["needs_bytes"]
        # What one model may have is a limit, too.
        reply = self.grid.cli("model", "load", "tiny", "--context", "512", "--sequences", "4", "--memory", needs // 2)
        self.assertRegex(reply.err, rf"needs about .* and {needs // 2 / 2 ** 20:.1f} MiB are allowed")
        limited = self.load("--memory", needs + (8 << 20))
        self.assertEqual(limited["memory_limit_bytes"], needs + (8 << 20))

    def test_its_weights_are_made_another_type_where_it_is_loaded(self):
        generate = {"text": "once upon a time", **GREEDY}
        self.load()
        as_it_is = self.text(model="tiny", generate=generate)
        reply = self.grid.cli("model", "load", "tiny", "--type", "Q99")
        self.assertRegex(reply.err, "Q99.*Q4_0")  # what there is instead
        self.assertEqual(self.load("--type", "q4_0")["type"], "Q4_0")
        self.assertRegex(self.grid.ok("model", "ps", json_output=False).out, r"(?m)^tiny as Q4_0 +ready ")
        self.assertGreater(len(self.text(model="tiny", generate=generate)), 0)
        made = {path: path.stat().st_mtime_ns for path in self.grid.folder.rglob("quantised/*.gguf")}
        self.assertEqual({path.name.rpartition("-")[2] for path in made}, {"Q4_0.gguf"})
        inspected = subprocess.run([WORKER, "inspect", next(iter(made))], check=True, capture_output=True).stdout
        self.assertEqual(json.loads(inspected)["result"]["facts"]["quantisation"], "Q4_0")
        self.load()
        self.assertEqual(self.text(model="tiny", generate=generate), as_it_is)
        self.load("--type", "Q4_0")
        again = {path: path.stat().st_mtime_ns for path in self.grid.folder.rglob("quantised/*.gguf")}
        self.assertEqual({path: again[path] for path in made}, made, "it was made twice")

    def test_a_device_that_is_cut_off_keeps_nobody_waiting(self):
        where = self.load()["replicas"][0]["device"]
        slow = self.ask(model="tiny", generate={"text": "a", "ignore_end": True, "max_tokens": 500})
        self.assertIn('"text"', slow.stdout.readline())
        stopped = [self.grid.running[where].pid, *(p.pid for p in descendants(self.grid.running[where].pid))]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        self.assert_answered_or_unavailable(slow)
        wait(lambda: self.ready() and self.ready() != [where], 40, "the other device to host it")
        for pid in reversed(stopped):
            os.kill(pid, signal.SIGCONT)
        wait(lambda: len(self.worker_pids()) == 1, 30, "the one that is back to unload it")

    def test_other_settings_after_an_unload_are_those_that_count(self):
        self.load()
        self.grid.ok("model", "unload", "tiny")
        self.load(context=1024)
        out = self.ask(model="tiny", generate={"text": "a", "ignore_end": True, "max_tokens": 700})
        ends = [e for r in json_lines(out.communicate(timeout=120)[0]) for e in r["ends"]]
        self.assertEqual([e["answer_tokens"] for e in ends], [700])

    def test_shared_memory_that_runs_out(self):
        """The youngest gives way and goes on later: all get all of their answer."""
        of_its_own = self.load(context=1000)
        self.assertFalse(of_its_own["shared_memory"])
        shared = self.load("--shared-memory", context=1000)
        self.assertTrue(shared["shared_memory"])
        self.assertLess(shared["replicas"][0]["needs_bytes"], of_its_own["replicas"][0]["needs_bytes"])

        asked = self.ask(model="tiny", generate={"text": "long", "choices": 4, "ignore_end": True, "max_tokens": 600})
        out, err = asked.communicate(timeout=120)
        self.assertEqual(err, "")
        ends = [e for r in json_lines(out) for e in r["ends"]]
        self.assertEqual([e["answer_tokens"] for e in ends], [600] * 4)
        (pid,) = self.worker_pids()
        socket = pathlib.Path(f"/proc/{pid}/cmdline").read_text().split("\0")[2]
        stats = subprocess.run([BIN / "worker_client", socket, "GetStats", "{}"], check=True, capture_output=True).stdout
        self.assertGreater(int(json.loads(stats)["preemptions"]), 0)

    def gateway(self):
        gateway = GridGateway(self.grid, "tiny")
        self.addCleanup(gateway.close)
        self.grid.adopted.append(gateway)
        return gateway

    def test_the_openai_client_talks_to_the_grid(self):
        self.assertTrue(HAVE_OPENAI, "the openai client is not there: run ./dev setup")
        gateway = self.gateway()
        self.assertEqual(gateway.ask("/v1/models")[2]["data"], [])
        self.assertEqual(gateway.chat()[0], 404)
        self.load(context=4096)
        wait(lambda: gateway.chat()[0] == 200, 30, "the gateway to know it")
        done = subprocess.run(
            ["node", "--test", "--test-reporter=spec",
             *[SCRIPTS / f"{name}_test.mjs" for name in ("chat", "stream", "other", "responses")]],
            env={**ENVIRONMENT, "OPENAI_BASE_URL": f"{gateway.url}/v1", "OPENAI_API_KEY": gateway.key,
                 "OPENAI_MODEL": "tiny", "OPENAI_TOOL_MARKER": ""},
            capture_output=True, text=True, timeout=600, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr + gateway.logged())
        self.assertEqual(gateway.stop(), 0, gateway.logged())

    def test_a_real_model_answers_through_the_grid(self):
        added = subprocess.run([BIN / "corpgrid", "model", "add", DEMO, "--models", self.store], check=False,
                               capture_output=True, text=True)
        self.assertEqual(added.returncode, 0, added.stderr)
        wait(lambda: self.grid.cli("model", "load", "corpgrid-demo", "--context", "512").code == 0, 30, "it to be found")
        gateway = self.gateway()
        gateway.model = "corpgrid-demo"
        wait(lambda: gateway.chat(max_tokens=1)[0] == 200, 30, "the gateway to know it")
        status, _, answer = gateway.chat("What is CorpGrid?", max_tokens=60, temperature=0)
        self.assertEqual(status, 200, answer)
        self.assertRegex(answer["choices"][0]["message"]["content"], "CorpGrid .*(machines|devices|grid)")
        self.assertEqual(gateway.stop(), 0, gateway.logged())

    def test_the_api_survives_workers_and_schedulers(self):
        gateway = self.gateway()
        where = self.load("--replicas", "2", context=4096)["replicas"][0]["device"]
        wait(lambda: gateway.chat()[0] == 200 and len(self.ready()) == 2, 30, "the gateway to know it")
        os.kill(self.workers()[where][0].pid, signal.SIGKILL)
        wait(lambda: gateway.chat()[0] == 200, 30, "the other replica to answer")
        self.grid.kill("scheduler")
        self.assertEqual(gateway.ask("/v1/models")[0], 200)
        self.grid.start_scheduler()
        wait(lambda: gateway.chat()[0] == 200, 40, "the gateway to find the scheduler")
        self.grid.ok("model", "unload", "tiny")
        wait(lambda: gateway.chat()[0] == 404, 20, "it to be gone")
        self.assertEqual(gateway.stop(), 0, gateway.logged())

    def test_a_drained_device_gives_it_up(self):
        where = self.load()["replicas"][0]["device"]
        self.grid.ok("device", "drain", where)
        wait(lambda: self.ready() and self.ready() != [where], 30, "the other device to host it")


if __name__ == "__main__":
    main()
