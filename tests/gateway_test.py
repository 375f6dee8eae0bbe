"""corpgrid serve as a process: clients that leave, workers that die, keys and their limits, and an end in order."""
import concurrent.futures
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

from grid import BIN, seeded, wait
from serving import ENDLESS, HAVE_WORKER, Serving, ask_while, check_asked, events, make_model



@unittest.skipUnless(HAVE_WORKER, "built without the inference libraries")
class GatewayTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="corpgrid-gateway.", dir="/var/tmp")
        cls.folder = pathlib.Path(cls.temporary.name)
        cls.model = make_model(cls.folder)

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def serve(self, *options, **more):
        serving = Serving(self.model, *options, **more)
        self.addCleanup(serving.close)
        return serving

    def apikey(self, *arguments):
        done = subprocess.run([BIN / "corpgrid", "apikey", *arguments, "--file", self.folder / "keys.json", "--json"],
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return json.loads(done.stdout) if done.stdout.strip() else None

    def stream(self, serving, tokens=900):
        """An answer that goes on for long, of which the beginning is read."""
        connection = serving.start("/v1/chat/completions", {
            "model": serving.model, "stream": True, "max_tokens": tokens, "logit_bias": ENDLESS,
            "messages": [{"role": "user", "content": "go on"}]})
        response = connection.getresponse()
        self.assertEqual(response.status, 200)
        response.readline()
        return connection, response

    def test_who_has_no_key_is_turned_away_before_the_body(self):
        serving = self.serve()
        for key, status in (("cgk-guessed", b"401"), (serving.key, None)):
            with socket.create_connection(("127.0.0.1", serving.port), timeout=20) as connection:
                connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n"
                                   b"Authorization: Bearer %s\r\n\r\n" % key.encode())
                connection.settimeout(20 if status else 1)
                try:
                    self.assertEqual(connection.recv(100).split()[1], status)
                except TimeoutError:
                    self.assertIsNone(status)  # it waits for the body

    def test_says_what_is_wrong_before_it_serves(self):
        for arguments, said in [(["absent.gguf"], "absent.gguf"), ([self.model, "--listen", "here"], "--listen"),
                                ([self.model, "--api-key-file", "absent.json"], "absent.json"),
                                ([__file__], "cannot be loaded")]:
            done = subprocess.run([BIN / "corpgrid", "serve", *arguments], capture_output=True, text=True, check=False)
            self.assertIn(done.returncode, (1, 2, 3), done)
            self.assertIn(said, done.stderr)

    def head_of_health(self, serving):
        connection = serving.start("/health", key="", method="HEAD")
        response = connection.getresponse()
        self.assertEqual((response.status, response.read()), (200, b""))
        connection.request("GET", "/health")  # on the same connection: a body would be in the way of its answer
        self.assertEqual(len(connection.getresponse().read()), int(response.headers["Content-Length"]))
        connection.close()

    def test_answers_and_ends_in_order(self):
        serving = self.serve("--name", "org/small")
        self.assertEqual(serving.ask("/health", key="")[0], 200)
        self.head_of_health(serving)
        self.assertEqual(serving.ask("/v1/models/org/small")[2]["id"], "org/small")
        status, headers, answer = serving.chat()
        self.assertEqual(status, 200, answer)
        self.assertRegex(headers["X-Request-Id"], "^req_")
        self.assertNotIn("Access-Control-Allow-Origin", headers)
        connection, response = self.stream(serving)
        worker = serving.worker()
        self.assertEqual(serving.stop(), 0, serving.logged())
        self.assertFalse(pathlib.Path(f"/proc/{worker}").exists(), "its worker outlives it")
        response.read()
        connection.close()

    def test_a_model_that_only_makes_embeddings(self):
        model, store = self.folder / "bert.gguf", self.folder / "store"
        subprocess.run([BIN / "bench_make_architecture", model, "F16", "bert", "vocab_size=400", "context_length=64",
                        "embedding_length=64", "block_count=2", "feed_forward_length=128", "attention.head_count=4",
                        "attention.layer_norm_epsilon=1e-12", "attention.causal=false", "pooling_type=1",
                        "tokenizer.ggml.token_type_count=2"], check=True, capture_output=True)
        added = subprocess.run([BIN / "corpgrid", "model", "add", model, "--models", store], capture_output=True, text=True,
                               check=False)
        self.assertEqual(added.returncode, 0, added.stderr)
        self.assertIn("it only makes embeddings",
                      subprocess.run([BIN / "corpgrid", "model", "show", "bert", "--models", store], check=True,
                                     capture_output=True, text=True).stdout)
        serving = Serving(model)
        self.addCleanup(serving.close)

        def embed(*texts):
            status, _, answer = serving.ask("/v1/embeddings", {"model": serving.model, "input": list(texts)})
            return [one["embedding"] for one in answer["data"]] if status == 200 else answer["error"]["message"]

        first, second, again = embed([5, 6, 7], [7, 6, 5], [5, 6, 7])
        self.assertEqual((len(first), first), (64, again))
        self.assertNotEqual(first, second)
        self.assertEqual(len(embed([5] * 64)), 1)
        self.assertIn("64", embed([5] * 65))  # the model knows no more places
        status, _, answer = serving.ask("/v1/completions", {"model": serving.model, "prompt": [5, 6]})
        self.assertEqual(status, 400)
        self.assertIn("only makes embeddings", answer["error"]["message"])
        self.assertIsNone(serving.process.poll())

    def test_who_leaves_is_computed_for_no_more(self):
        serving = self.serve(sequences=1, context=100_000)
        connection, _ = self.stream(serving, tokens=90_000)
        wait(lambda: serving.stats()["running"] == 1, 60, "the first request to be counted")
        waiting = serving.start("/v1/completions", {"model": serving.model, "prompt": "wait", "max_tokens": 50_000})
        wait(lambda: serving.stats()["waiting"] == 1, 60, "the second request to wait")
        waiting.close()  # not a stream, and nothing of it was computed
        wait(lambda: serving.stats()["waiting"] == 0, 60, "the second request to go")
        self.assertEqual(serving.stats()["running"], 1)
        connection.close()
        wait(lambda: serving.stats()["running"] == 0, 60, "the first request to go")
        self.assertLess(int(serving.stats()["answer_tokens"]), 80_000)

    def test_shared_memory_that_runs_out(self):
        """The youngest gives way and goes on later: all get all of their answer."""
        serving = self.serve("--shared-memory", context=1000)

        def ask(number):
            status, _, answer = serving.ask("/v1/completions", {"model": serving.model, "prompt": f"long {number}",
                                                                "max_tokens": 600, "logit_bias": ENDLESS})
            return status, answer["usage"]["completion_tokens"]

        with concurrent.futures.ThreadPoolExecutor(4) as clients:
            self.assertEqual(list(clients.map(ask, range(4))), [(200, 600)] * 4)
        self.assertGreater(int(serving.stats()["preemptions"]), 0)

    def test_a_worker_that_dies(self):
        serving = self.serve(context=100_000)
        dice = seeded()
        for turn in range(3):
            streams = [self.stream(serving, tokens=90_000) for _ in range(3)]
            plain = serving.start("/v1/completions", {"model": serving.model, "prompt": "x", "max_tokens": 90_000,
                                                      "logit_bias": ENDLESS})
            wait(lambda: serving.stats()["running"] == 4, 60, "all to be computed")
            old = serving.worker()
            os.kill(old, dice.choice([signal.SIGKILL, signal.SIGABRT]))
            for connection, response in streams:
                last = json.loads(events(response)[-1])
                self.assertEqual(last["error"]["type"], "server_error", last)
                connection.close()
            response = plain.getresponse()
            self.assertEqual(response.status, 503)
            self.assertTrue(response.headers["Retry-After"])
            self.assertEqual(json.loads(response.read())["error"]["type"], "server_error")
            plain.close()
            wait(lambda: serving.worker() not in (None, old), 60, "another worker")
            wait(lambda: serving.ask("/health")[0] == 200, 60, "the model to be back")
            self.assertEqual(serving.chat()[0], 200)
            self.assertEqual(serving.logged().count("a new worker starts"), turn + 1)
        self.assertRegex(serving.logged(), "the worker ended by signal [69]")

    def test_a_worker_that_hangs_is_replaced(self):
        serving = self.serve()
        old = serving.worker()
        os.kill(old, signal.SIGSTOP)
        self.assertEqual(serving.chat()[0], 503)
        wait(lambda: serving.worker() not in (None, old), 90, "another worker")
        wait(lambda: serving.ask("/health")[0] == 200, 60, "the model to be back")
        self.assertEqual(serving.chat()[0], 200)
        self.assertIn("the worker does not answer; a new worker starts", serving.logged())

    def test_a_worker_killed_at_random_moments(self):
        """In a prompt, between tokens, while it is loaded, while nobody asks."""
        serving, dice, over = self.serve(), seeded(), threading.Event()

        with concurrent.futures.ThreadPoolExecutor(6) as clients:
            asked = [clients.submit(ask_while, serving, dice.random(), over) for _ in range(6)]
            try:
                for _ in range(5):
                    worker = wait(serving.worker, 60, "a worker")
                    time.sleep(dice.random())
                    os.kill(worker, signal.SIGKILL)
                    wait(lambda worker=worker: serving.worker() != worker, 60, "it to end")
                wait(lambda: serving.chat()[0] == 200, 60, "the model to be back")
            finally:
                over.set()  # else the clients ask for ever
        check_asked(self, [one for client in asked for one in client.result()])

    def test_keys(self):
        alice = self.apikey("create", "alice")["api_key"]
        other = self.apikey("create", "other", "--model", "elsewhere")["api_key"]
        late = self.apikey("create", "late", "--expires", "1s")["api_key"]
        text = (self.folder / "keys.json").read_text()
        self.assertFalse(any(key in text or key[4:] in text for key in (alice, other, late)))
        self.assertEqual((self.folder / "keys.json").stat().st_mode & 0o777, 0o600)
        serving = self.serve("--api-key-file", self.folder / "keys.json")
        self.assertIsNone(serving.key, "a key is made although there are some")
        self.assertEqual(serving.chat(key=alice)[0], 200)

        def code(*request, **more):
            status, _, answer = serving.ask(*request, **more)
            return status, answer["error"]["code"]

        self.assertEqual(code("/v1/models", key=""), (401, "missing_api_key"))
        self.assertEqual(code("/v1/models", key="cgk-" + "0" * 64), (401, "invalid_api_key"))
        self.assertEqual(serving.chat(key=other)[0], 403)
        self.assertEqual(serving.ask("/v1/models", key=other)[2]["data"], [])
        self.assertEqual(code(f"/v1/models/{serving.model}", key=other), (403, "model_not_allowed"))
        wait(lambda: serving.ask("/v1/models", key=late)[0] == 401, 30, "the key's end")
        self.assertEqual(code("/v1/models", key=late), (401, "expired_api_key"))
        self.apikey("remove", "alice")
        self.assertEqual(code("/v1/models", key=alice), (401, "invalid_api_key"), "a removed key is let in")
        (self.folder / "keys.json").write_text("broken")
        self.assertEqual(serving.chat(key=other)[0], 503, "with a broken file somebody gets in")
        (self.folder / "keys.json").unlink()

    def test_limits_of_a_key(self):
        key = self.apikey("create", "limited", "--concurrent", "2", "--tokens-per-minute", "600")["api_key"]
        serving = self.serve("--api-key-file", self.folder / "keys.json", context=100_000)
        serving.key = key
        streams = [self.stream(serving, tokens=90_000) for _ in range(2)]
        status, headers, answer = serving.chat()
        self.assertEqual((status, answer["error"]["code"], headers["Retry-After"]), (429, "rate_limit_exceeded", "1"))
        self.assertIn("2 requests running", answer["error"]["message"])
        for connection, response in streams:
            for _ in range(400):
                response.readline()
            connection.close()
        wait(lambda: "tokens a minute" in serving.chat()[2].get("error", {}).get("message", ""), 60, "the limit of tokens")
        self.assertGreaterEqual(int(serving.chat()[1]["Retry-After"]), 1)
        (self.folder / "keys.json").unlink()


if __name__ == "__main__":
    unittest.main(verbosity=2)
