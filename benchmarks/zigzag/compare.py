"""ZigZag 3.9.1 and accelsim on the same networks and machines: energy, cycles and DRAM words of every layer, and time.

python benchmarks/zigzag/compare.py [--models NAME ...] [--machines NAME ...] [--objectives NAME ...] [--venv FOLDER]

ZigZag is installed with pip into a virtual environment, in a temporary folder or in FOLDER (which is kept, and used
again); the networks are the ONNX files that it ships, the machines are its `tpu_like` and `meta_prototype`. Every layer
(convolutions and the final products) runs alone, from DRAM to DRAM. Both are timed from reading the network to the
last layer, each in one process, after their imports; accelsim has run a small layer before, which loads its compiled
kernel. Exits with 1 if accelsim needs more energy for a layer than ZigZag. README.md says what the columns mean.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

from accelsim.arch.architecture import Architecture
from accelsim.arch.loader import RawSpec, load_spec
from accelsim.engine.labels import ActorLabel
from accelsim.ir import Einsum, Workload
from accelsim.ir.precision import with_precision
from accelsim.ir.roles import rank_roles
from accelsim.ir.standalone import standalone
from accelsim.report import Report
from accelsim.simulation import simulate
from accelsim.workloads import load_model

HERE = Path(__file__).parent
REQUIREMENTS = ("zigzag-dse==3.9.1", "six")
MODELS = {"resnet18": "resnet18", "mobilenet_v2": "mobilenetv2", "alexnet": "alexnet"}
MAPPINGS = {"tpu_like": "tpu_like", "meta_prototype": "meta_prototype_like"}
BITS = {"weight": 8, "activation": 8, "input": 8, "output": 8}
TOLERANCE = 1e-6
WORD_PJ = 700.0
"""Of a word read from the DRAM, on either machine."""


@dataclass(frozen=True)
class Layer:
    """What one layer costs: picojoules, cycles, and 64-bit words over the port of the DRAM.

    Attributes:
        exact_pj: ZigZag's energy without rounding up to the smallest words of its memories.
        fewest: words that no mapping can do without.
        edges: cycles before the first multiplication and after the last one.
    """

    macs: int
    pj: float
    exact_pj: float
    cycles: float
    words: float
    fewest: float = 0.0
    edges: float = 0.0


Layers = dict[str, Layer]
Seconds = tuple[float, float]
"""On the clock, and of the processor."""


def peer_python(folder: Path) -> Path:
    """The Python of a virtual environment that has ZigZag, made if it is not there."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True)
    return python


def search(python: Path, model: str, machine: str, objective: str) -> dict[str, Any]:
    """What ZigZag finds, as `peer.py` prints it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [python, HERE / "peer.py", "search", MODELS[model], machine, MAPPINGS[machine], objective, folder]
        ran = subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def run_peer(python: Path, model: str, machine: str, objective: str) -> tuple[Seconds, Path, Layers]:
    """Seconds, the file of the network, and its layers."""
    found = search(python, model, machine, objective)
    clock, processor = found["seconds"]
    figures = ("macs", "pj", "exact_pj", "cycles", "words")
    layers = {layer["name"]: Layer(*(layer[f] for f in figures)) for layer in found["layers"]}
    return (clock, processor), Path(found["file"]), layers


def layers_of(workload: Workload) -> Iterator[Einsum]:
    """What ZigZag runs as well: convolutions and matrix products."""
    for item in workload.body:
        if isinstance(item, Einsum) and rank_roles(item):
            yield item


@lru_cache
def spec_of(machine: str) -> RawSpec:
    """The file of a machine, read once."""
    return load_spec(HERE / f"{machine}.yaml")


def machine_for(machine: str, einsum: Einsum) -> Architecture:
    """The machine as a layer finds it: weights fill the register files of those elements alone that can be busy."""
    roles = rank_roles(einsum)
    busy = 1
    for role in ("output_channel", "input_channel") if machine == "tpu_like" else ():
        busy *= max((min(32, size) for rank, size in einsum.sizes.items() if roles[rank] == role), default=1)
    return _built(machine, busy)


@lru_cache
def _built(machine: str, busy: int) -> Architecture:
    spec = spec_of(machine)
    if machine == "tpu_like":
        spec = spec.with_values({"memories.wrf.capacity": f"{128 * busy} B"})
    return spec.build()


def edges_of(report: Report) -> float:
    """Cycles before the first firing of the array and after its last one."""
    trace = report.trace
    labels = trace.program.actor_labels
    array = [i for i, label in enumerate(labels) if isinstance(label, ActorLabel) and label.role == "compute"]
    busy = max(trace.end[i] for i in array) - min(trace.start[i] for i in array)
    return float(report.cycles) * (1 - float(busy) / trace.finish)


def run_accelsim(file: Path, machine: str, objective: str) -> tuple[Seconds, Layers]:
    """Seconds and layers."""
    start = time.perf_counter(), time.process_time()
    workload = with_precision(load_model(str(file)), BITS)
    found: Layers = {}
    for einsum in layers_of(workload):
        report = simulate(machine_for(machine, einsum), standalone(workload, einsum), objective=objective)
        words = sum(report.traffic_bytes["dram"].values()) / 8
        fewest = (report.bounds.traffic.read_bytes + report.bounds.traffic.write_bytes) / 8
        joules = report.energy_J
        assert joules is not None
        picojoules, macs = joules * 1e12, prod(einsum.sizes.values())
        cycles = float(report.cycles)
        found[einsum.name] = Layer(macs, picojoules, picojoules, cycles, words, fewest, edges_of(report))
    return (time.perf_counter() - start[0], time.process_time() - start[1]), found


ROW = "{:<46} {:>13} {:>10} {:>10} {:>7} {:>7} {:>11} {:>11} {:>7} {:>2} {:>9} {:>9}"
HEADINGS = ("layer", "MACs", "ZigZag uJ", "accelsim", "ratio", "exact", "cycles", "accelsim", "ratio", "",
            "DRAM words", "accelsim")  # fmt: skip


def table(theirs: Layers, ours: Layers) -> tuple[int, int]:
    """Print a line per layer; how many need more energy, and how many more cycles than ZigZag and its DRAM port."""
    print(ROW.format(*HEADINGS))
    energy = cycles = 0
    for name, a in theirs.items():
        b = ours[name]
        slowest = max(a.cycles, a.words)
        energy += b.pj > a.pj * (1 + TOLERANCE)
        cycles += b.cycles > slowest * (1 + TOLERANCE)
        print(ROW.format(
            name[-46:], f"{a.macs:,}", f"{a.pj / 1e6:.3f}", f"{b.pj / 1e6:.3f}", f"{b.pj / a.pj:.4f}",
            f"{b.pj / a.exact_pj:.4f}", f"{a.cycles:,.0f}", f"{b.cycles:,.0f}", f"{b.cycles / a.cycles:.4f}",
            "*" if a.words > a.cycles else "", f"{a.words:,.0f}", f"{b.words:,.0f}",
        ))  # fmt: skip
    return energy, cycles


def differences(theirs: Layers, ours: Layers) -> None:
    """Print what differences between the models come to, see README.md."""
    fewer = {name: max(0.0, ours[name].fewest - layer.words) for name, layer in theirs.items()}
    energy = sum(layer.pj + fewer[name] * WORD_PJ for name, layer in theirs.items())
    cycles = sum(max(layer.cycles, ours[name].fewest) for name, layer in theirs.items())
    running = sum(layer.cycles - layer.edges for layer in ours.values())
    print(
        f"  ZigZag moves {sum(fewer.values()):,.0f} words too few in {sum(n > 1 for n in fewer.values())} layers;",
        end=" ",
    )
    print(f"ratio of energy with these {sum(layer.pj for layer in ours.values()) / energy:.4f}")
    least = sum(layer.cycles for layer in ours.values()) / cycles
    print(f"  ratio of cycles if ZigZag's were no fewer than the DRAM's port needs {least:.4f};", end=" ")
    all_of_theirs = sum(layer.cycles for layer in theirs.values())
    print(f"without accelsim's first loads and last stores {running / all_of_theirs:.4f}")


def compared(python: Path, model: str, machine: str, objective: str) -> int:
    """Run one case on both and print it; layers that need more energy than ZigZag's."""
    peer_seconds, file, theirs = run_peer(python, model, machine, objective)
    seconds, ours = run_accelsim(file, machine, objective)
    if theirs.keys() != ours.keys():
        raise SystemExit(f"{model}: different layers: {sorted(theirs.keys() ^ ours.keys())}")
    print(f"\n{model} on {machine}, objective {objective}")
    energy, cycles = table(theirs, ours)
    for what, unit in (("pj", 1e6), ("exact_pj", 1e6), ("cycles", 1), ("words", 1)):
        a, b = (sum(getattr(x, what) for x in layers.values()) / unit for layers in (theirs, ours))
        print(f"  all layers, {what:9} ZigZag {a:>14,.1f}  accelsim {b:>14,.1f}  ratio {b / a:.4f}")
    differences(theirs, ours)
    for what, a, b in zip(("clock", "processor"), peer_seconds, seconds, strict=True):
        print(f"  {what:9} ZigZag {a:.2f} s, accelsim {b:.2f} s: ratio {a / b:.0f} (target 50)")
    print(f"  more energy in {energy} of {len(ours)} layers;", end=" ")
    print(f"more cycles than ZigZag's and than its DRAM port's: {cycles}", flush=True)
    return energy


def warm_up() -> None:
    """Load what is loaded once: the compiled kernel above all."""
    import accelsim.workloads.onnx_import  # noqa: F401  # what reading the networks imports
    from accelsim.ir.cascade import parse_cascade

    workload = parse_cascade("O[m,n] = A[m,k] * B[k,n]", {"m": 8, "n": 8, "k": 8}, bits=8)
    simulate(load_spec(HERE / "tpu_like.yaml").build(), workload)


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """Of the arguments that all comparisons take; the description is the first line of a docstring."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--machines", nargs="+", choices=MAPPINGS, default=list(MAPPINGS))
    parser.add_argument("--objectives", nargs="+", choices=("energy", "latency"), default=["energy", "latency"])
    parser.add_argument("--venv", type=Path, help="keep ZigZag's virtual environment here")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare all that is asked for."""
    parser = parser_of(__doc__)
    given = parser.parse_args(arguments)
    warm_up()
    above = 0
    with tempfile.TemporaryDirectory() as folder:
        python = peer_python((given.venv or Path(folder)).absolute())
        for model in given.models:
            for machine in given.machines:
                for objective in given.objectives:
                    above += compared(python, model, machine, objective)
    return int(above > 0)


if __name__ == "__main__":
    sys.exit(main())
