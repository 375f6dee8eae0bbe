"""How fast a worker serves a model, as ratios to the library's own ceiling and to llama-server.

One model of 254 M parameters (Q8_0, random weights, made on the spot) is served by corpgrid-worker through its socket
("worker"), by another one behind the OpenAI API of `corpgrid serve` ("API"), and by llama-server over its own HTTP API,
and run by llama-batched-bench without any serving. One load generator asks all of them for the same greedy answers
(bench/serve_load.cc). llama-server runs with the setting that was fastest for each case in
trials of its own: first threads and how they wait, then, with the best of these, batches and slots. The worker's memory
has large pages, which the others have no setting for: 4 to 8 % where it was measured (decision 0021). The cases' turns
are interleaved; the medians of their ratios count. Other programs on the machine disturb this more than most
measurements: threads that compute one step wait for each other many times.
"""

import argparse
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

from support.scheduler import cpu_seconds, said

BIN = pathlib.Path(os.environ["CORPGRID_BIN"])
PRIVATE = pathlib.Path(__file__).resolve().parent.parent / ".deps/inference/usr"
MODEL = ["Q8_0", "16", "1024", "16", "8", "2816", "32000"]  # 254 M parameters
TINY = ["Q8_0", "1", "64", "4", "2", "128", "32000"]
CORES = len(os.sched_getaffinity(0))
# As services have it: the kernel shares processors between sessions first.
OWN_SESSION = {"start_new_session": True}
PASSIVE = {"OMP_WAIT_POLICY": "passive"}
# What llama-server is tried with, its default first: the environment, and options.
ALL, HALF = CORES, max(1, CORES // 2)
WAITS = {"-t all": ({}, f"-t {ALL} -tb {ALL}"), "-t half -tb all": ({}, f"-t {HALF} -tb {ALL}"),
         "passive -t all": (PASSIVE, f"-t {ALL} -tb {ALL}"), "passive -t half": (PASSIVE, f"-t {HALF} -tb {HALF}")}
BATCHES = ["-ub 128", "-ub 2048", "-kvu", "half the slots"]  # beside these


def tool(name):
    """The command of one of llama.cpp's programs, and the folder to run it in: it finds its backends there."""
    if not PRIVATE.exists():
        return [name], None
    libraries = next(PRIVATE.glob("lib/*/libllama.so.0")).parent
    loader = next(libraries.glob("ld-linux*.so.*"))
    return [loader, "--library-path", f"{libraries}:{libraries}/llama", PRIVATE / "bin" / name], libraries / "ggml/backends0"


class Worker:
    def __init__(self, folder, model, slots, context):
        self.address = f"unix:{folder}/worker-{slots}-{context}.sock"
        self.log = open(folder / "worker.log", "a")
        self.process = subprocess.Popen([BIN / "corpgrid-worker", "--socket", self.address[5:]], **OWN_SESSION,
                                        stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.process.stdout.readline()
        self.loaded = self.call("Load", path=str(model), sequences=slots, context=context)

    def call(self, method, **request):
        out = subprocess.run([BIN / "worker_client", self.address[5:], method, json.dumps(request)],
                             capture_output=True, text=True)
        if out.returncode != 0:
            sys.exit(f"{method}: {out.stderr}")
        return json.loads(out.stdout)

    def close(self):
        self.process.kill()
        self.process.wait()


class Api:
    """The same worker behind `corpgrid serve`, asked by the OpenAI API over HTTP."""

    def __init__(self, folder, model, slots, context):
        self.log = open(folder / "serve.log", "a")
        self.process = subprocess.Popen(
            [BIN / "corpgrid", "serve", model, "--name", "model", "--json", "--listen", "127.0.0.1:0", "--sequences",
             str(slots), "--context", str(context)], **OWN_SESSION, stdout=subprocess.PIPE, stderr=self.log, text=True)
        ready = said(self.process)
        self.address = f"{ready['url'].rpartition(':')[2]}/{ready['api_key']}"

    def close(self):
        self.process.terminate()  # its worker goes with it
        self.process.wait()


class LlamaServer:
    def __init__(self, folder, model, slots, context, setting):
        wait, _, batch = setting.partition(", ")
        environment, options = WAITS[wait]
        parallel = (slots + 1) // 2 if batch == "half the slots" else slots
        options = options.split() + (batch.split() if batch.startswith("-") else [])
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = str(probe.getsockname()[1])
        command, where = tool("llama-server")
        self.log = open(folder / "llama-server.log", "a")
        self.process = subprocess.Popen(
            [*command, "-m", model, "--host", "127.0.0.1", "--port", self.address, "-np", str(parallel),
             "-c", str(slots * context), *options, "--no-ui", "--no-warmup", "--cache-ram", "0"],
            cwd=where, env={**os.environ, **environment}, **OWN_SESSION, stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.address}/health") as reply:
                    if reply.status == 200:
                        return
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    sys.exit(f"llama-server does not start: see {self.log.name}")
                time.sleep(0.2)

    close = Worker.close


class Case:
    """`load`: what bench_serve_load is asked for; `better`: whether more of `what` is better."""

    def __init__(self, name, clients, load, context, what, more_is_better=True, ceiling=None, busy=0):
        self.name, self.clients, self.load, self.context = name, clients, load, context
        self.what, self.more_is_better, self.ceiling, self.busy = what, more_is_better, ceiling, busy
        self.seen = {"worker": [], "API": [], "llama-server": [], "library": []}
        self.by_default = None

    def median(self, who, what=None):
        return statistics.median(turn[what or self.what] for turn in self.seen[who])

    def ratio(self, who, over, what=None):
        """The median of the turns' ratios, as the machine's speed changes more from turn to turn than within one;
        the least and the most of them beside it."""
        what = what or self.what
        turns = sorted(ours[what] / max(others[what], 1e-9)
                       for ours, others in zip(self.seen[who], self.seen[over], strict=True))
        return f"{statistics.median(turns):.2f} ({turns[0]:.2f} to {turns[-1]:.2f})"

    def best(self, trials):
        """Of those that do not let others' prompts wait for it."""
        least = 0.9 * max(turn["other_prompt_rate"] for turn in trials.values())
        fair = {setting: turn[self.what] for setting, turn in trials.items() if turn["other_prompt_rate"] >= least}
        return (max if self.more_is_better else min)(fair, key=fair.get)


def of_prompts(clients, prompt):
    """Plain requests, with the library's own rate as their ceiling: of answers where prompts are short, else of all."""
    # Generation is what the short prompts are about: answers so long that 16 prompts, half a second, weigh little.
    answer, what, ceiling = (1024 if clients == 1 else 256, "answer_rate", "speed_tg") if prompt == 8 else (64, "total_rate", "speed")
    return Case(f"{clients} clients, prompts of {prompt} and answers of {answer} tokens", clients, [1, prompt, 0, answer],
                prompt + answer + 64, what, ceiling=(str(prompt), str(answer), ceiling))


def cases(matrix):
    if matrix:
        return {f"{clients}x{prompt}": of_prompts(clients, prompt) for prompt in (8, 512, 2048) for clients in (1, 8, 16, 32)}
    return {
        "single": of_prompts(1, 8),
        "serve": of_prompts(16, 8),
        "serve-512": of_prompts(16, 512),
        "burst": Case("burst of 16 with 500 tokens in common", 16, [1, 520, 500, 8], 1024, "first_ms",
                      more_is_better=False),
        "prefill": Case("8 streams while prompts of 2,000 tokens arrive", 8, [1, 8, 0, 4000, "+", 2, 2000, 40], 4096,
                        "gap_p99_ms", more_is_better=False),
        "busy": Case("8 clients, two busy processes beside", 8, [1, 8, 0, 48], 512, "answer_rate", busy=2)}


WARM = Case("warm-up", 8, [1, 8, 0, 32], 0, "")  # where a whole turn of it takes minutes


class Busy:
    def __init__(self, count):
        self.processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()


class Bench:
    def __init__(self, folder, options):
        self.folder, self.options, self.seed = folder, options, 1
        self.model = folder / "model.gguf"
        subprocess.run([BIN / "bench_make_model", self.model, *(TINY if options.tiny else MODEL)], check=True)

    def ask(self, server, case):
        self.seed += 1  # nobody has seen these prompts before
        load = case.load[:case.load.index("+")] if "+" in case.load else case.load
        others = case.load[case.load.index("+") + 1:] if "+" in case.load else []
        arguments = [case.clients, *load, self.seed, *others]
        before = cpu_seconds(server.process.pid)
        out = subprocess.run([BIN / "bench_serve_load", server.address, *map(str, arguments)],
                             capture_output=True, text=True)
        if out.returncode != 0:
            sys.exit(out.stderr)
        turn = json.loads(out.stdout)
        turn["cpu_ms"] = (cpu_seconds(server.process.pid) - before) * 1000 / turn["tokens"]
        return turn

    def library(self, case):
        prompt, answer, what = case.ceiling
        command, where = tool("llama-batched-bench")
        for _ in range(10):
            out = subprocess.run(
                [*command, "-m", self.model, "-c", str(case.clients * (int(prompt) + int(answer))), "-b", "2048",
                 "-ub", "512", "-npp", prompt, "-ntg", answer, "-npl", str(case.clients), "-t", str(CORES),
                 "-tb", str(CORES), "--output-format", "jsonl"], cwd=where, capture_output=True, text=True)
            for line in out.stdout.splitlines():
                if line.startswith("{"):
                    return {case.what: json.loads(line)[what]}
            if out.returncode != 0:  # else it ended before its logging thread wrote, as one run of five does
                break
        sys.exit(f"llama-batched-bench ended with {out.returncode}: {out.stderr[-500:]}")

    def slots(self, case):
        return case.clients + (case.load[case.load.index("+") + 1] if "+" in case.load else 0)

    def best_setting(self, case):
        """Of llama-server, for this case."""
        trials = {}

        def attempt(setting):
            peer = LlamaServer(self.folder, self.model, self.slots(case), case.context, setting)
            trials[setting] = self.ask(peer, case)
            peer.close()

        for setting in WAITS:
            attempt(setting)
        waits = case.best(trials)
        for batch in BATCHES:
            attempt(f"{waits}, {batch}")
        case.by_default = trials["-t all"]
        print(f"  tried for llama-server, {case.what}: " + "; ".join(
            f"{setting}: {turn[case.what]:.1f}" + (f" (prompts {turn['other_prompt_rate']:.0f} tokens/s)" if "+" in case.load else "")
            for setting, turn in trials.items()), flush=True)
        return case.best(trials)

    def measure(self, case):
        """The worker, the API, llama-server at its best setting and the library, in turns."""
        shape = (self.folder, self.model, self.slots(case), case.context)
        with Busy(case.busy):
            case.setting = self.options.setting or self.best_setting(case)
            servers = {"worker": Worker(*shape), "llama-server": LlamaServer(*shape, case.setting)}
            if not self.options.matrix:
                servers["API"] = Api(*shape)
            for server in servers.values():
                self.ask(server, WARM if self.options.matrix else case)
            for _ in range(self.options.turns):
                for who, server in servers.items():
                    case.seen[who].append(self.ask(server, case))
                if case.ceiling:
                    case.seen["library"].append(self.library(case))
            case.memory = servers["worker"].call("GetStats"), servers["worker"].loaded["estimate"]
            for server in servers.values():
                server.close()

    def report(self, case):
        unit = "ms" if case.what.endswith("ms") else "tokens/s"
        print(f"{case.name}: {case.what}, {unit}; load {os.getloadavg()[0]:.1f}")
        for who in case.seen:
            if not case.seen[who]:
                continue
            detail = f" ({case.setting})" if who == "llama-server" else ""
            more = "" if who == "library" else (
                f"; answers {case.median(who, 'answer_rate'):.1f}, with prompts {case.median(who, 'total_rate'):.1f} tokens/s, "
                f"first token {case.median(who, 'first_ms'):.0f} ms, p99 {case.median(who, 'first_p99_ms'):.0f}, between tokens {case.median(who, 'gap_ms'):.1f} ms, "
                f"p99 {case.median(who, 'gap_p99_ms'):.1f} ms; CPU a token {case.median(who, 'cpu_ms'):.2f} ms")
            if "+" in case.load:
                more += f"; prompts {case.median(who, 'other_prompt_rate'):.0f} tokens/s"
            print(f"  {who}{detail}: {case.median(who):.1f} {unit}{more}", flush=True)
        if case.by_default:
            print(f"  llama-server by default, one trial: {case.by_default[case.what]:.1f} {unit}", flush=True)


def ratios(done, matrix):
    def ratio(name, case_name, over, aim, sign=">="):
        case = done.get(case_name)
        if case and case.seen[over]:
            api = f"; by the API {case.ratio('API', over)}" if case.seen["API"] else ""
            print(f"ratio {name} {case.ratio('worker', over)}{api}; aim {sign} {aim}")

    ratio("serve-vs-library", "serve", "library", 0.95)
    ratio("serve-512-vs-library", "serve-512", "library", 0.95)
    ratio("serve-single-vs-library", "single", "library", 0.95)
    ratio("serve-vs-llama-server", "serve", "llama-server", 1.05)
    ratio("ttft-burst-vs-llama-server", "burst", "llama-server", 0.5, "<=")
    ratio("itl-p99-under-prefill-vs-llama-server", "prefill", "llama-server", 0.5, "<=")
    if "prefill" in done:
        rate = done["prefill"].ratio("worker", "llama-server", "other_prompt_rate")
        print(f"ratio prompts-under-answers-vs-llama-server {rate}; aim >= 0.9")
    ratio("serve-on-busy-machine-vs-llama-server", "busy", "llama-server", 1.1)
    for name, case in done.items():
        if matrix:
            ratio(f"{name}-vs-library", name, "library", 0.95)
            ratio(f"{name}-vs-llama-server", name, "llama-server", 1.05)
        stats, estimate = case.memory
        share = sum(map(int, estimate.values())) / int(stats["peak_resident_bytes"])
        print(f"ratio estimate-vs-measured-memory {share:.2f} ({case.clients} x {case.context} tokens; aim 0.95 to 1.10)")


def main():
    parser = argparse.ArgumentParser(prog="./dev bench serve", description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=5, help="of which the median counts (default %(default)s)")
    parser.add_argument("--matrix", action="store_true",
                        help="1, 8, 16 and 32 clients with prompts of 8, 512 and 2,048 tokens, without the API: hours, "
                             "fewer with --setting")
    parser.add_argument("--case", action="append", help="only this one; may be repeated")
    parser.add_argument("--setting", help='of llama-server, without trials, e.g. "passive -t half, -ub 128"')
    parser.add_argument("--tiny", action="store_true", help="a model that is quickly made; its figures mean nothing")
    options = parser.parse_args()
    chosen = cases(options.matrix)
    for name in options.case or []:
        if name not in chosen:
            parser.error(f"there is no case {name}; there are {', '.join(chosen)}")
    if options.setting and options.setting.partition(", ")[0] not in WAITS:
        parser.error(f"--setting begins with one of: {'; '.join(WAITS)}")
    if not (BIN / "corpgrid-worker").exists():
        sys.exit("corpgrid-worker was not built: run ./dev setup, then ./dev build")
    done = {}
    with tempfile.TemporaryDirectory(prefix="corpgrid-bench.", dir="/var/tmp") as name:
        bench = Bench(pathlib.Path(name), options)
        for name, case in chosen.items():
            if options.case is None or name in options.case:
                bench.measure(case)
                bench.report(case)
                done[name] = case
    ratios(done, options.matrix)


if __name__ == "__main__":
    main()
