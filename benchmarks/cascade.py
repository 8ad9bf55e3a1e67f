"""How fast the fusion mapper is: one attention layer, a decoder layer, and whole models, mapped and simulated.

    python benchmarks/cascade.py [MODEL ...]

Prints seconds of processor time of this process for every step, the cycles, and how many times fewer they are than one
Einsum after the other. Imports, and kernels that numba has compiled before and loads from its cache, are counted in the
first line; run it twice where the cache is empty.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from importlib.resources import files

from accelsim import simulate
from accelsim.arch import Architecture
from accelsim.arch.loader import load_architecture
from accelsim.experiments.fusemax.cascade import MODELS, one_pass, three_passes
from accelsim.ir import Repeat, Workload
from accelsim.mappers.cascade import best_cascade, map_workload
from accelsim.workloads import load_model

WHOLE = ("gpt2", "bert-base", "llama-2-7b")
TOKENS = (1024, 65536, 1 << 20)


def measured(what: str, arch: Architecture, work: Workload) -> None:
    start = time.process_time()
    mapping = map_workload(work, arch)
    middle = time.process_time()
    cycles = simulate(arch, work, mapping=mapping).cycles
    end = time.process_time()
    times = f"map {middle - start:6.2f} s  simulate {end - middle:6.2f} s"
    if "one pass" in what:  # its running sums, written out whole, fit no memory
        print(f"{what:44} {times}  {cycles:.4g} cycles")
        return
    unfused = simulate(arch, work, mapper="tile").cycles
    print(f"{what:44} {times}  {cycles:.4g} cycles, {unfused / cycles:.2f}x fewer than unfused")


def one_layer(model: Workload) -> Workload:
    """A model with a single iteration of its Repeats."""
    return replace(model, body=tuple(replace(x, count=1) if isinstance(x, Repeat) else x for x in model.body))


def main() -> None:
    arch = load_architecture(str(files("accelsim.experiments.fusemax").joinpath("fusemax.yaml")))
    print(f"{'imports':44} {time.process_time():10.2f} s")
    bert = MODELS[0]
    for tokens in TOKENS:
        measured(f"attention, one pass, {tokens} tokens", arch, one_pass(bert, tokens))
    measured("attention, three passes, 1024 tokens", arch, three_passes(bert, TOKENS[0]))
    for tokens in TOKENS:
        start = time.process_time()
        found = best_cascade(three_passes(bert, tokens), arch)
        seconds = time.process_time() - start
        assert found.mapping.claim is not None
        what = f"search from three passes, {tokens} tokens"
        print(f"{what:44} {seconds:10.2f} s, {found.mapping.claim.value:.4g} cycles after: {'; '.join(found.steps)}")
    for name in sys.argv[1:] or WHOLE:
        start = time.process_time()
        model = load_model(name)
        print(f"{f'load {name}':44} {time.process_time() - start:10.2f} s")
        measured(f"{name}, one layer and ends", arch, one_layer(model))
        measured(f"{name}, end to end", arch, model)


if __name__ == "__main__":
    main()
