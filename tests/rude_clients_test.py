"""Clients at random, some of them rude: each gets the status that it should, and memory stays flat.

CORPGRID_CLIENTS says how many (1,000); ./dev soak clients asks with 100,000.
"""
import json
import os
import pathlib
import random
import re
import socket
import statistics
import sys
import tempfile
import time
import unittest

from grid import main, seeded, wait
from serving import (ENDLESS, HAVE_WORKER, GridGateway, HostingGridTest, Serving, in_parallel, make_model, resident_kib,
                     wait_idle)

CLIENTS = int(os.environ.get("CORPGRID_CLIENTS", 1000))
AT_ONCE = 50
# What memory may differ between the second quarter of the waves and the last. Of nine seeds the server's grew by 2.5
# MiB with one, by 1.2 with another, by less than 0.3 with the rest: what needed most came late.
FLAT_KIB = 8 << 10
DEEP = [b"[" * 10_000, b'{"model":"generic","messages":' + b"[" * 10_000 + b"]" * 10_000 + b"}"]
# Numbers as they are written, which a JSON library would make others of.
EXTREME = {"temperature": ["1e-40", "1e-300", "2"], "top_p": ["0", "1e-300"], "min_p": ["1", "1e-300"],
           "presence_penalty": ["-2", "2"], "frequency_penalty": ["-2", "2"], "top_k": ["2147483647"],
           "seed": ["-9223372036854775808", "9223372036854775807"]}
BEYOND = {"temperature": ["-1e-9", "2.0000001", "1e999"], "top_p": ["1.0000001", "-1e999"], "min_p": ["-1e-300"],
          "presence_penalty": ["2.0000001"], "frequency_penalty": ["-2.0000001"], "top_k": ["2147483648", "-1"],
          "seed": ["9223372036854775808", "9223372036854775808.0", "1e300", "1e999"], "n": ["0", "65", "1e999"]}
# The classes of the first two have a quote or a backslash in them, which JSON has to escape; the names of the last one are
# more than a grammar may have.
ODD = [{"type": "string", "pattern": "^[A-z]{1,9}$"}, {"type": "string", "pattern": "^[ -~]{1,9}$"},
       {"type": "object", "additionalProperties": True,
        "properties": {f"{number:04}{'x' * 246}": {"type": "null"} for number in range(3000)}}]
# As many ways to begin as there are paths through it, 8^15: who tries them all is at it for years.
UNION = {"$ref": "#/$defs/a0", "$defs": {
    **{f"a{n}": {"anyOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 8} for n in range(15)}, "a15": {"type": "null"}}}
# Each bracket doubles the ways to read what came before.
BRACKETS = {"$ref": "#/$defs/x", "$defs": {"x": {"anyOf": [
    {"type": "array", "items": {"$ref": "#/$defs/x"}, "minItems": 1, "maxItems": most} for most in (1, 2, 3, 4)]}}}
BACKSLASHES = {str(3 + ord("\\")): 6}  # a bias: the model writes some


class RudeClients:
    """Of `self.serving`, in a test."""

    @property
    def kinds(self):
        return [self.garbage, self.half_a_request, self.deep, self.endless, self.leaves, self.no_json, self.huge,
                self.unknown_key, self.extreme, self.beyond, self.odd_schema, self.exponential, self.fine, self.streams,
                self.embeds, self.responds, self.tokenizes, self.calls]

    def send(self, data):
        """What is no request is refused, or cut off."""
        with socket.create_connection(("127.0.0.1", self.serving.port), 60) as raw:
            try:
                raw.sendall(data)
                raw.shutdown(socket.SHUT_WR)
                answer = raw.recv(100)
            except (BrokenPipeError, ConnectionResetError):
                return
            self.assertRegex(answer, b"^(HTTP/1.1 4|$)")

    def garbage(self, dice):
        self.send(dice.randbytes(dice.randrange(1, 3000)))

    def half_a_request(self, dice):
        self.send(b"POST /v1/completions HTTP/1.1\r\nContent-Length: 500\r\n\r\nhalf"[:dice.randrange(1, 70)])

    def deep(self, dice):
        self.assertEqual(self.serving.ask("/v1/chat/completions", dice.choice(DEEP))[0], 400)

    def endless(self, _):
        status, _, answer = self.serving.chat(max_tokens=10 ** 9)
        self.assertEqual((status, answer["error"]["code"]), (400, "context_length_exceeded"))

    def leaves(self, dice):
        """In mid-stream, or before anything came."""
        connection = self.serving.start("/v1/chat/completions", {
            "model": self.serving.model, "stream": dice.random() < 0.5, "max_tokens": 900, "logit_bias": ENDLESS,
            "messages": [{"role": "user", "content": "x" * dice.randrange(1, 50)}]})
        if dice.random() < 0.3:
            connection.sock.recv(100)
        connection.close()

    def no_json(self, dice):
        body = bytes(dice.choice(b'{}[]":,0e-\\"abc\x80\xff') for _ in range(dice.randrange(1, 200)))
        self.assertEqual(self.serving.ask("/v1/completions", body)[0], 400)

    def huge(self, _):
        self.assertEqual(self.serving.ask("/v1/completions", b"x" * (9 << 20))[0], 413)

    def unknown_key(self, dice):
        self.assertEqual(self.serving.chat(key=f"cgk-{dice.randrange(1 << 60):x}")[0], 401)

    def ask_with(self, numbers):
        fields = "".join(f', "{name}": {number}' for name, number in numbers.items())
        body = f'{{"model": "{self.serving.model}", "prompt": "x", "max_tokens": 2{fields}}}'
        status, _, answer = self.serving.ask("/v1/completions", body.encode())
        return status, f"{fields} {answer}"

    def some_extreme(self, dice):
        return {name: dice.choice(numbers) for name, numbers in EXTREME.items() if dice.random() < 0.5}

    def extreme(self, dice):
        status, said = self.ask_with(self.some_extreme(dice))
        self.assertEqual(status, 200, said)

    def beyond(self, dice):
        name = dice.choice(list(BEYOND))
        status, said = self.ask_with({**self.some_extreme(dice), name: dice.choice(BEYOND[name])})
        self.assertEqual(status, 400, said)

    def odd_schema(self, dice):
        """Where it is not refused, an answer that ends is of it."""
        schema = dice.choice(ODD)
        outer = {"type": "object", "properties": {"v": schema}, "required": ["v"], "additionalProperties": False}
        status, _, answer = self.serving.chat(
            max_tokens=150, logit_bias=BACKSLASHES,
            response_format={"type": "json_schema", "json_schema": {"name": "odd", "schema": outer}})
        self.assertIn(status, (200, 400) if "pattern" in schema else (400,), answer)
        if status == 200 and answer["choices"][0]["finish_reason"] == "stop":
            value = json.loads(answer["choices"][0]["message"]["content"])["v"]
            self.assertRegex(value, re.compile(schema["pattern"]))

    def exponential(self, dice):
        """It is refused, or comes to an end, and keeps nobody waiting."""
        for schema, right in (UNION, (400,)), (BRACKETS, (200, 400)):
            status, _, answer = self.serving.chat(
                max_tokens=30, logit_bias={str(3 + ord("[")): 50}, seed=dice.randrange(9),
                response_format={"type": "json_schema", "json_schema": {"name": "deep", "schema": schema}})
            self.assertIn(status, right, answer)

    def fine(self, _):
        self.assertEqual(self.serving.chat(max_tokens=2)[0], 200)

    def streams(self, dice):
        connection = self.serving.start("/v1/completions", {
            "model": self.serving.model, "stream": True, "max_tokens": dice.randrange(1, 9), "prompt": "on and on"})
        response = connection.getresponse()
        self.assertEqual((response.status, response.read().endswith(b"data: [DONE]\n\n")), (200, True))
        connection.close()

    def embeds(self, dice):
        path, texts = "/v1/embeddings", ["x" * dice.randrange(1, 300) for _ in range(dice.randrange(1, 9))]
        status, _, answer = self.serving.ask(path, {"model": self.serving.model, "input": texts})
        self.assertEqual((status, len(answer.get("data", []))), (200, len(texts)), answer)
        wrong = dice.choice([[], [[]], [["x"]], [10 ** 9], {}, "x" * 5000, [[-1]]])
        self.assertEqual(self.serving.ask(path, {"model": self.serving.model, "input": wrong})[0], 400, wrong)

    def responds(self, dice):
        body = {"model": self.serving.model, "input": "x", "max_output_tokens": 3, "stream": dice.random() < 0.5}
        connection = self.serving.start("/v1/responses", body)
        response = connection.getresponse()
        said = response.read()
        self.assertEqual((response.status, b"completed" in said or b"incomplete" in said), (200, True), said)
        connection.close()
        wrong = dice.choice([{"input": 5}, {"input": []}, {"max_output_tokens": 0}, {"previous_response_id": "resp_x"}])
        self.assertIn(self.serving.ask("/v1/responses", {**body, "stream": False, **wrong})[0], (400, 404), wrong)

    def tokenizes(self, dice):
        text = "".join(chr(dice.choice([0, 65, 0x7f, 0xe9, 0x4e2d, 0x1f600])) for _ in range(dice.randrange(300)))
        status, _, answer = self.serving.ask("/tokenize", {"model": self.serving.model, "text": text})
        self.assertEqual((status, isinstance(answer.get("tokens"), list)), (200, True), answer)
        self.assertEqual(self.serving.ask("/tokenize", {"model": self.serving.model, "text": 5})[0], 400)

    def calls(self, dice):
        """Where it comes to its end, a call is one of the tool's; wrong tools are refused."""
        tool = {"type": "function", "function": {"name": "go", "parameters": {
            "type": "object", "properties": {"to": {"enum": ["a", "b"]}}, "required": ["to"]}}}
        status, _, answer = self.serving.chat(max_tokens=120, tools=[tool], tool_choice="required")
        self.assertEqual(status, 200, answer)
        if answer["choices"][0]["finish_reason"] == "tool_calls":
            for call in answer["choices"][0]["message"]["tool_calls"]:
                self.assertIn(json.loads(call["function"]["arguments"])["to"], ("a", "b"))
        wrong = dice.choice([[{}], [tool, tool], [{"type": "function"}], [tool] * 200, {"a": 1}, [5]])
        self.assertEqual(self.serving.chat(tools=wrong)[0], 400, wrong)

    def check_all(self, clients, worker, processes):
        """That each gets the right status, and memory of the processes (their pids by name) stays flat."""
        dice, serving, started = seeded(), self.serving, time.monotonic()
        status, _, answer = serving.chat("a b " * (7 << 18))  # its tokens fill more than one message
        self.assertEqual((status, answer["error"]["code"]), (400, "context_length_exceeded"))
        memory = {name: [] for name in processes}
        for wave in range(1, clients // AT_ONCE + 1):
            seeds = [dice.randrange(1 << 30) for _ in range(AT_ONCE)]

            def visit(number, seeds=seeds):
                own = random.Random(seeds[number])
                own.choice(self.kinds)(own)

            in_parallel(AT_ONCE, visit)
            wait_idle(serving)
            for name, pid in processes.items():
                memory[name].append(resident_kib(pid))
            if sys.stderr.isatty():
                kib = " + ".join(str(seen[-1]) for seen in memory.values())
                print(f"\r{wave * AT_ONCE} of {clients} clients, {kib} KiB ", end="", file=sys.stderr)
        self.assertEqual(serving.chat()[0], 200)
        self.assertEqual(serving.worker(), worker, "another worker")
        print(f"{clients} clients in {time.monotonic() - started:.0f} s")
        for name, seen in memory.items():
            quarter = max(1, len(seen) // 4)
            before, after = statistics.median(seen[quarter:2 * quarter]), statistics.median(seen[-quarter:])
            print(f"memory of the {name}: {before:.0f} KiB in the second quarter, {after:.0f} KiB in the last")
            self.assertLess(after - before, FLAT_KIB, seen)


@unittest.skipUnless(HAVE_WORKER, "built without the inference libraries")
class RudeClientsTest(RudeClients, unittest.TestCase):
    """Of corpgrid serve."""

    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="corpgrid-rude.", dir="/var/tmp")
        self.addCleanup(temporary.cleanup)
        self.serving = Serving(make_model(pathlib.Path(temporary.name)))
        self.addCleanup(self.serving.close)

    def test_all_get_the_right_status_and_memory_stays_flat(self):
        worker = self.serving.worker()
        self.check_all(CLIENTS, worker, {"server": self.serving.process.pid, "worker": worker})


@unittest.skipUnless(HAVE_WORKER, "built without the inference libraries")
class RudeClientsOfAGridTest(RudeClients, HostingGridTest):
    """Of corpgrid gateway: what it answers comes from a device, through the scheduler."""
    agents, slots = 1, 1

    def test_all_get_the_right_status_and_memory_stays_flat(self):
        self.grid.ok("model", "load", "tiny", "--context", 1024, "--sequences", 4)
        self.serving = GridGateway(self.grid, "tiny")
        self.addCleanup(self.serving.close)
        self.grid.adopted.append(self.serving)
        wait(lambda: self.serving.chat()[0] == 200, 30, "the gateway to know it")
        worker = self.serving.worker()
        running = {name: process.pid for name, process in self.grid.running.items()}
        self.check_all(CLIENTS // 2, worker, {"gateway": self.serving.process.pid, "worker": worker, **running})
        self.assertEqual(self.serving.stop(), 0, self.serving.logged())


if __name__ == "__main__":
    main()
