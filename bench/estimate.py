"""How near the memory estimate is to what a worker uses, over architectures, types of weights, contexts and sequences.

Each model is made on the spot, of random weights. A worker loads it and is driven to its peak: every sequence is filled
to the end of its context, all at once. What counts as used is the most that the worker had at any time from when the
model was loaded. What the kernel keeps of the file beside that is not counted: it can be dropped, and needs no room.
Ends with 1 when an estimate of a model of 200 M parameters or more is off by more than 10 %, or any is lower than the
truth by more than 5 %. A star: memory that all sequences share.
"""

import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import threading

BIN = pathlib.Path(os.environ["CORPGRID_BIN"])
COMMON = {"context_length": 8192, "attention.layer_norm_rms_epsilon": "1e-5", "attention.layer_norm_epsilon": "1e-5"}
BIG = {"vocab_size": 32000, "embedding_length": 1024, "block_count": 16, "feed_forward_length": 2816,
       "attention.head_count": 16, "attention.head_count_kv": 8, "rope.dimension_count": 64}
SMALL = {**BIG, "embedding_length": 512, "block_count": 2, "feed_forward_length": 1024, "attention.head_count": 8,
         "attention.head_count_kv": 2}
HEADS = {"attention.key_length": 64, "attention.value_length": 64}
ARCHITECTURES = {
    "llama": {}, "qwen2": {}, "qwen3": HEADS, "gemma": HEADS, "gemma3": {**HEADS, "attention.sliding_window": 512},
    "phi3": {"attention.sliding_window": 8192}, "starcoder2": {},
    "qwen3moe": {**HEADS, "expert_count": 8, "expert_used_count": 2, "expert_feed_forward_length": 512},
    "mamba": {"ssm.conv_kernel": 4, "ssm.inner_size": 2048, "ssm.state_size": 16, "ssm.time_step_rank": 64,
              "block_count": 28},
}
SMALL_FACTOR = 16  # so many times the context, so that it weighs as much as the weights
SMALL_FILL = 512  # tokens of it that are computed
# Type, sequences, tokens of each, or of all together where memory is shared; what a model is measured with.
SETTINGS = [("Q8_0", 1, 2048), ("F16", 4, 512), ("Q4_K_M", 8, 256)]
# More for the one that most are like.
MORE = {"llama": [("Q4_0", 2, 4096), ("Q8_0", 16, 128), ("Q6_K", 4, 256), ("Q8_0", 1, 16384), ("Q8_0", 8, 4096, "shared")]}


class Worker:
    def __init__(self, folder):
        self.socket = folder / "worker.sock"
        self.process = subprocess.Popen([BIN / "corpgrid-worker", "--socket", self.socket], stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True, env={**os.environ, "GOMP_SPINCOUNT": "1000"})
        self.process.stdout.readline()
        self.peak, self.done = 0, threading.Event()

    def start(self, method, **request):
        return subprocess.Popen([BIN / "worker_client", self.socket, method, json.dumps(request)],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def call(self, method, **request):
        out, err = self.start(method, **request).communicate()
        if err:
            sys.exit(f"{method}: {err}")
        return json.loads(out)

    def now(self):
        """Bytes that the worker has in memory; the most since it began."""
        lines = (line.split() for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines())
        found = {words[0]: int(words[1]) << 10 for words in lines if words[0] in ("VmRSS:", "VmHWM:")}
        return found["VmRSS:"], found["VmHWM:"]

    def watch(self):
        while not self.done.wait(0.02):
            self.peak = max(self.peak, self.now()[0])

    def close(self):
        self.process.kill()
        self.process.wait()


def make(folder, architecture, kind, shape):
    file = folder / f"{architecture}-{kind}.gguf"
    if not file.exists():
        values = {**COMMON, **shape, **ARCHITECTURES[architecture]}
        if shape is SMALL:
            values["block_count"] = SMALL["block_count"]
        if "ssm.inner_size" in values:
            values["ssm.inner_size"] = 2 * values["embedding_length"]
        subprocess.run([BIN / "bench_make_architecture", file, kind, architecture,
                        *(f"{key}={value}" for key, value in values.items())], check=True, stderr=subprocess.DEVNULL)
    return file


def measure(folder, file, sequences, context, fill, shared):
    """Fills `fill` tokens of each sequence. The loaded model's answer to Load, the true peak, and the kernel's high-water mark."""
    worker = Worker(folder)
    try:
        loaded = worker.call("Load", path=str(file), sequences=sequences, context=context, shared_memory=shared)
        watcher = threading.Thread(target=worker.watch)
        watcher.start()
        source = random.Random(1)
        vocabulary = loaded["facts"]["vocabulary"]
        asked = []
        for _ in range(sequences):
            tokens = [source.randrange(vocabulary) for _ in range(fill - 8)]
            asked.append(worker.start("Generate", tokens={"tokens": tokens}, max_tokens=8, ignore_end=True))
        for one in asked:
            _, err = one.communicate()
            if err:
                sys.exit(f"Generate: {err}")
        worker.done.set()
        watcher.join()
        now, mark = worker.now()
        return loaded, max(worker.peak, now), mark
    finally:
        worker.done.set()
        worker.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="models of 40 M parameters, for the tests")
    parser.add_argument("--only", action="append", choices=ARCHITECTURES, help="this architecture; may be repeated")
    options = parser.parse_args()
    ratios, wrong = [], []
    print(f"{'model':12} {'parameters':>10} {'type':7} {'sequences':>11} {'estimate':>10} {'used':>10} {'ratio':>6} "
          f"{'high-water mark':>16}", flush=True)
    for architecture in options.only or ARCHITECTURES:
        with tempfile.TemporaryDirectory(prefix="corpgrid-estimate.", dir="/var/tmp") as temporary:
            folder = pathlib.Path(temporary)
            for kind, sequences, context, *how in SETTINGS + MORE.get(architecture, []):
                file = make(folder, architecture, kind, SMALL if options.small else BIG)
                context *= SMALL_FACTOR if options.small else 1
                fill = min(context, SMALL_FILL) if options.small else context
                fill = fill // sequences if how else fill
                loaded, used, mark = measure(folder, file, sequences, context, fill, bool(how))
                estimate, parameters = sum(map(int, loaded["estimate"].values())), int(loaded["facts"]["parameters"])
                ratio = estimate / used
                ratios.append(ratio)
                print(f"{architecture:12} {parameters / 1e6:8.0f} M {kind:7} {sequences:3} x {context:5}{'*' if how else ' '}"
                      f"{estimate / 2**20:6.0f} MiB {used / 2**20:6.0f} MiB {ratio:6.3f} {mark / 2**20:12.0f} MiB "
                      + " ".join(f"{key[:-6]} {int(value) / 2**20:.0f}" for key, value in loaded["estimate"].items()),
                      flush=True)
                if ratio < 0.95 or (parameters >= 200e6 and ratio > 1.1):
                    wrong.append(f"{architecture} {kind} {sequences} x {context}: {ratio:.3f}")
    print(f"estimate over use: {min(ratios):.3f} to {max(ratios):.3f}, {len(ratios)} cases")
    if wrong:
        sys.exit("out of bounds: " + "; ".join(wrong))


if __name__ == "__main__":
    main()
