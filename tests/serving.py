"""corpgrid serve as a process, with models of random weights, for the tests beside this file."""
import http.client
import json
import os
import pathlib
import random
import signal
import subprocess
import tempfile
import threading
import time
import urllib.request

from grid import BIN, GridTest, descendants, wait

HERMES = """{% if tools %}<|im_start|>system
# Tools
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}For a call write <tool_call>
{"name": <name>, "arguments": <arguments>}
</tool_call><|im_end|>
{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content or '' }}{% for call in m.tool_calls or [] %}<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
QWEN = """{% if tools %}<|im_start|>system
# Tools
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}For a call write <tool_call>
<function=name>
<parameter=one>
value
</parameter>
</function>
</tool_call><|im_end|>
{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content or '' }}{% for call in m.tool_calls or [] %}<tool_call>
<function={{ call.function.name }}>
{% for name, value in call.function.arguments | items %}<parameter={{ name }}>
{{ value if value is string else value | tojson }}
</parameter>
{% endfor %}</function>
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
MISTRAL = """{% if tools %}[AVAILABLE_TOOLS]{{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}{% for m in messages %}\
{% if m.role == 'user' %}[INST]{{ m.content }}[/INST]{% elif m.tool_calls %}[TOOL_CALLS][{% for call in m.tool_calls %}\
{% if call.id is not defined or call.id|length != 9 %}{{ raise_exception("Tool call IDs should be alphanumeric strings with \
length 9!") }}{% endif %}{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}{% endfor %}]</s>\
{% elif m.role == 'tool' %}[TOOL_RESULTS]{{ m.content }}[/TOOL_RESULTS]{% else %}{{ m.content }}</s>{% endif %}{% endfor %}"""
LLAMA = """{% if tools %}<|start_header_id|>system<|end_header_id|>
{% for tool in tools %}{{ tool | tojson }}{% endfor %}<|eot_id|>{% endif %}{% for m in messages %}\
<|start_header_id|>{{ 'ipython' if m.role == 'tool' else m.role }}<|end_header_id|>
{% for call in m.tool_calls or [] %}{"name": "{{ call.function.name }}", "parameters": \
{{ call.function.arguments | tojson }}}{% endfor %}{{ m.content or '' }}<|eot_id|>{% endfor %}\
{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>
{% endif %}"""
# A template, and what calls begin with, as a control token: a bias for it makes the model begin one. Real models of the
# last two families write that in several tokens; to the grammar and the gateway it is the same text.
FAMILIES = {"generic": ["", []], "hermes": [HERMES, ["<tool_call>"]], "qwen": [QWEN, ["<tool_call>"]], "mistral": [MISTRAL, ["[TOOL_CALLS]"]],
            "llama3": [LLAMA, ['{"name"']], "generic-tools": ["", ['{"tool_calls"']]}
ENDLESS = {"2": -100}  # a bias: the model does not end its answer


def make_model(folder, family="generic"):
    """A small model of random weights; returns its path."""
    path = pathlib.Path(folder) / f"{family}.gguf"
    template, control = FAMILIES[family]
    subprocess.run([BIN / "bench_make_model", path, "Q8_0", "2", "64", "4", "2", "128", "400", template, *control],
                   check=True)
    return path


class Serving:
    """A server that was started, with a client of it."""

    def __init__(self, model, *options, context=1024, sequences=4):
        self.run("serve", model, "--threads", "1", "--context", str(context), "--sequences", str(sequences),
                 *options)

    def run(self, *command):
        self.log = tempfile.NamedTemporaryFile(prefix="corpgrid-serve.", suffix=".log", dir="/var/tmp")
        self.process = subprocess.Popen([BIN / "corpgrid", *command, "--json", "--listen", "127.0.0.1:0"],
                                        stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.url = None
        said = "".join(iter(self.read_line, "}\n")) + "}"
        try:
            said = json.loads(said)
        except ValueError:
            self.close()
            raise AssertionError(f"it did not start: {said} {self.logged()}") from None
        self.url, self.model, self.key = said["url"], said.get("model"), said.get("api_key")
        self.port = int(self.url.rpartition(":")[2])

    def read_line(self):
        return self.process.stdout.readline() or "}\n"  # the end, when it did not start

    def logged(self):
        return pathlib.Path(self.log.name).read_text()

    def worker(self):
        """The pid of its worker; None while there is none."""
        return next((p.pid for p in descendants(self.process.pid) if "corpgrid-worker --socket" in p.command()), None)

    def stats(self):
        command = pathlib.Path(f"/proc/{self.worker()}/cmdline").read_text().split("\0")
        out = subprocess.run([BIN / "worker_client", command[2], "GetStats", "{}"], check=True, capture_output=True)
        return json.loads(out.stdout)

    def start(self, path, body=None, key=None, method=None):
        """A connection whose request was sent."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body)
        connection.request(method or ("GET" if body is None else "POST"), path, data,
                           {"Authorization": f"Bearer {self.key if key is None else key}"})
        return connection

    def ask(self, path, body=None, key=None, method=None):
        """Status, headers and JSON of an answer."""
        connection = self.start(path, body, key, method)
        try:
            response = connection.getresponse()
            return response.status, response.headers, json.loads(response.read())
        finally:
            connection.close()

    def chat(self, content="hello", key=None, **more):
        return self.ask("/v1/chat/completions", {"model": self.model, "max_tokens": 8, **more,
                                                 "messages": [{"role": "user", "content": content}]}, key)

    def metrics_port(self):
        return int(self.logged().rpartition("metrics at port ")[2].split()[0])

    def stop(self):
        """Ends it in order; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)
        self.process.stdout.close()
        self.log.close()


class GridGateway(Serving):
    """A gateway to the models of a grid."""

    def __init__(self, grid, model):
        self.run("gateway", "--data", grid.data)
        self.grid, self.model = grid, model

    def workers(self):
        """The pids of the workers of all agents."""
        agents = [process for name, process in self.grid.running.items() if name.startswith("agent")]
        return [p.pid for a in agents for p in descendants(a.pid) if "corpgrid-worker --socket" in p.command()]

    def worker(self):
        return next(iter(self.workers()), None)


class HostingGridTest(GridTest):
    """A grid whose agents have a model, "tiny", and memory for it."""
    template = ""  # that the model writes conversations with

    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="corpgrid-hosting.", dir="/var/tmp")
        folder = pathlib.Path(cls.temporary.name)
        folder.chmod(0o755)  # agents that start as root read it as other users
        cls.store = folder / "models"
        file = folder / "tiny.gguf"
        subprocess.run([BIN / "bench_make_model", file, "Q8_0", "2", "64", "4", "2", "128", "400", cls.template],
                       check=True)
        subprocess.run([BIN / "corpgrid", "model", "add", file, "--models", cls.store], check=True,
                       stdout=subprocess.DEVNULL)

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def prepare(self):
        for number in range(1, self.agents + 1):
            self.grid.envs[f"agent-{number}"] = {"CORPGRID_MODELS": str(self.store), "CORPGRID_GPUS": "false",
                                                 "CORPGRID_MODEL_MEMORY": "512MiB"}


def ask_while(serving, seed, over):
    """Asks, by the dice for streams, until `over` is set. What came of each: status, tokens wanted and had, errors."""
    own, seen = random.Random(seed), []
    while not over.is_set():
        tokens, stream = own.randrange(1, 900), own.random() < 0.5
        connection = serving.start("/v1/completions", {
            "model": serving.model, "prompt": "on " * own.randrange(1, 30), "max_tokens": tokens, "stream": stream,
            "stream_options": {"include_usage": True} if stream else None, "logit_bias": ENDLESS})
        response = connection.getresponse()
        if stream and response.status == 200:
            said = events(response)
            parts = [json.loads(one) for one in said if one != "[DONE]"]
            whole = said[-1] == "[DONE]"
        else:
            parts, whole = [json.loads(response.read())], True
        connection.close()
        had = [part["usage"]["completion_tokens"] for part in parts if part.get("usage")]
        errors = [part["error"]["type"] for part in parts if "error" in part]
        seen.append({"status": response.status, "wanted": tokens, "had": had, "errors": errors, "whole": whole})
        if errors:
            time.sleep(own.random() / 4)
    return seen


def check_asked(test, seen):
    """Each is a whole answer, or an error."""
    failed = [one for one in seen if one["errors"]]
    for one in seen:
        if one not in failed:
            test.assertEqual((one["status"], one["had"], one["whole"]), (200, [one["wanted"]], True), one)
        else:
            test.assertIn(one["status"], (200, 503), one)  # 200: its stream had begun
            test.assertEqual((one["errors"], one["had"]), (["server_error"], []), one)
    print(f"{len(seen) - len(failed)} answers, {len(failed)} errors")
    test.assertTrue(failed and len(failed) < len(seen), seen)


def events(response):
    """The data of a stream of events, up to its end. Of bytes, as in json_lines()."""
    return [line[6:].decode() for line in response.read().splitlines() if line.startswith(b"data: ")]


def json_lines(text):
    """Each line's value. Of bytes: in text Python takes some characters that a model may say for the end of a line."""
    return [json.loads(line) for line in text.encode().splitlines()]


def in_parallel(count, work):
    """Runs work(number) on as many threads; raises what the first of them raised."""
    failures = []

    def run(number):
        try:
            work(number)
        except BaseException as error:  # pylint: disable=broad-except
            failures.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def counts(port):
    """{"corpgrid_requests_total{kind=\"job\"}": 3.0} of a metrics page."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        assert page.headers["Content-Type"].startswith("text/plain"), page.headers
        lines = page.read().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def resident_kib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def wait_idle(serving):
    wait(lambda: (lambda s: s["running"] + s["waiting"] == 0)(serving.stats()), 60, "the end of all work")


OPENAI_MODULES = pathlib.Path(__file__).resolve().parent.parent / ".deps/node"
HAVE_OPENAI = (OPENAI_MODULES / "node_modules/openai").exists()
HAVE_WORKER = (BIN / "corpgrid-worker").exists()
ENVIRONMENT = {**os.environ, "OPENAI_MODULES": str(OPENAI_MODULES)}
