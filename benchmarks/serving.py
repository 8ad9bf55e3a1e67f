"""Requests through continuous batching on eight sockets: how long the simulation of it takes.

python benchmarks/serving.py [--requests N]

Prints CPU seconds in all, those of simulating fragments, and what became of the requests; nothing is judged.
"""

from __future__ import annotations

import argparse
import time

from accelsim.serving.llm.arrivals import Lengths, PoissonRequests
from accelsim.serving.llm.fragments import Fragments
from accelsim.serving.llm.run import simulate_serving
from accelsim.serving.llm.scenario import LlmScenario, Parallel

spent = 0.0
run = Fragments.run


def timed(self, fragment):
    global spent
    began = time.process_time()
    cost = run(self, fragment)
    spent += time.process_time() - began
    return cost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--model", default="llama-3-8b")
    parser.add_argument("--machine", default="h100_sxm")
    wanted = parser.parse_args()
    Fragments.run = timed
    for tensor, data in ((8, 1), (1, 8)):
        arrivals = PoissonRequests(wanted.requests, 400.0, Lengths(512, 0.5, 4096), Lengths(128, 0.5, 1024))
        scenario = LlmScenario(wanted.model, wanted.machine, arrivals,
                               parallel=Parallel(tensor, data, "switch", 450e9, 2e-6))  # fmt: skip
        before, began = spent, time.process_time()
        told = simulate_serving(scenario).to_json()
        seconds = time.process_time() - began
        print(f"{wanted.requests:,} requests, {tensor} sockets share {wanted.model}, {data} replicas: {seconds:.1f} s "
              f"of CPU, {spent - before:.1f} s of them for {told['fragments']} fragments and checks; "
              f"{told['steps']:,} steps, {told['throughput_tokens_per_s']:,.0f} tokens/s, median first token "
              f"{told['ttft_s']['p50']:.3g} s, interpolation off by "
              f"{told['interpolation']['max_abs_error']:.2%} at most")  # fmt: skip


if __name__ == "__main__":
    main()
