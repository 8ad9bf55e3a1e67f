"""How long a user waits: from a model's file to its report, in a fresh process and in a warm one.

    python benchmarks/end_to_end.py

Prints seconds for whole runs (fresh process with compiled code cached, then a second call), for long sequences beside
short ones, and for a sweep of 1000 points of one GPT-2 layer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TIMED = """
import time; start = time.perf_counter()
import accelsim
def once():
    model = accelsim.load_model({model!r}, **{options!r})
    return accelsim.simulate(accelsim.load_architecture("tpu_like"), model)
report = once(); first = time.perf_counter() - start
start = time.perf_counter(); once(); second = time.perf_counter() - start
print(first, second, report.cycles)
"""

WARM = """
import time
import accelsim
from accelsim.arch.loader import load_spec
arch = load_spec("tpu_like").with_values({{"memories.hbm.capacity": "256 TiB"}}).build()
config = {{**__import__("accelsim.workloads.zoo", fromlist=["load"]).load("gpt2"), "n_positions": 2**21, "n_layer": 1}}
from accelsim.workloads.huggingface import load_config
model = load_config(config).{phase}(1, {tokens})
accelsim.simulate(arch, model)
start = time.perf_counter(); report = accelsim.simulate(arch, model)
print(time.perf_counter() - start, report.cycles, report.trace.jumped_firings)
"""


LAYER = {"model_type": "gpt2", "n_layer": 1, "n_embd": 768, "n_head": 12, "n_positions": 1024, "vocab_size": 50257}


def run(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def fresh_and_warm() -> None:
    print("fresh process (s)  second call (s)  cycles")
    for model, options in (("onnx:resnet50", {"bits": 8}), ("gpt2", {"seq": 1024})):
        code = TIMED.format(model=model, options=options)
        run(code)  # fills the cache of compiled code
        first, second, cycles = run(code)
        print(f"{model:14} {float(first):6.2f}  {float(second):6.2f}  {cycles}")


def long_sequences() -> None:
    print("one GPT-2 layer, warm: 1 M tokens over 1 K tokens")
    for phase in ("decode", "prefill"):
        times = {}
        for tokens in (1024, 2**20):
            seconds, cycles, jumped = run(WARM.format(phase=phase, tokens=tokens))
            times[tokens] = float(seconds)
            print(f"{phase:8} {tokens:8} tokens: {float(seconds):.3f} s, {cycles} cycles, {jumped} firings jumped over")
        print(f"{phase:8} ratio {times[2**20] / times[1024]:.2f}")


def thousand_points() -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "layer.json"
        config.write_text(json.dumps(LAYER))
        axes = [
            "arch.memories.vmem.capacity=" + ",".join(f"{2 + i} MiB" for i in range(10)),
            "arch.memories.hbm.bandwidth=" + ",".join(f"{200 + 100 * i} GB/s" for i in range(10)),
            "arch.units.mxu.rows=" + ",".join(str(32 * (i + 1)) for i in range(10)),
        ]
        command = [sys.executable, "-W", "ignore", "-m", "accelsim", "sweep", "tpu_like", str(config), "--seq", "1024"]
        for axis in axes:
            command += ["--axis", axis]
        start = time.perf_counter()
        subprocess.run(
            [*command, "--out", f"{folder}/out", "--jobs", str(os.cpu_count())], check=True, capture_output=True
        )
        seconds = time.perf_counter() - start
        print(f"sweep of 1000 points of one GPT-2 layer: {seconds:.1f} s, {1000 / seconds:.1f} points/s")


if __name__ == "__main__":
    fresh_and_warm()
    long_sequences()
    thousand_points()
