"""AccelForge 1.0.467 and accelsim on one machine and one layer: energy, DRAM traffic, latency and search time.

python benchmarks/accelforge/compare.py [--cases NAME ...] [--tokens N] [--inputs FOLDER] [--venv FOLDER]
                                        [--python PYTHON]

AccelForge is installed with pip into a virtual environment of a Python from 3.12 on (PYTHON, or the first that is
found), in a temporary folder or in FOLDER (which is kept, and used again). It runs its own machine and network, from
the examples that it brings, or from a folder with the same `arches` and `workloads` (`--inputs`). Both look for least
energy. Timed are the searches alone, each in one process; accelsim has mapped a small product before, which loads its
compiled kernels. After the layer with softmax as one free Einsum comes the one with softmax written out, of which
AccelForge has no form. Exits with 1 if accelsim needs more energy or more DRAM traffic than AccelForge. README.md says
where the two models differ.
"""

from __future__ import annotations

import argparse
import gc
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from accelsim.arch.architecture import Architecture
from accelsim.arch.loader import load_architecture
from accelsim.ir import Workload, parse_cascade
from accelsim.ir.precision import with_precision
from accelsim.mappers.cascade import map_workload
from accelsim.mapping.tree import Mapping as MappingTree
from accelsim.simulation import simulate
from accelsim.workloads import load_model

HERE = Path(__file__).parent
REQUIREMENT = "accelforge==1.0.467"
CASES = ("attention", "layer")
TOKENS = 2048
BITS = dict.fromkeys(("weight", "activation", "input", "output"), 16)
MEMORIES = {"dram": "MainMemory", "gb": "GlobalBuffer"}
ARRAYS = 4
TOLERANCE = 1e-6
FASTER = 100


@dataclass(frozen=True)
class Outcome:
    """What a layer costs, and what it took to find out.

    Attributes:
        processor, clock: seconds of the search.
        moved: bytes read from and written to each memory.
    """

    joules: float
    latency_s: float
    processor: float
    clock: float
    moved: Mapping[str, tuple[float, float]]

    @property
    def dram(self) -> float:
        return sum(self.moved["dram"])


def peer_python(folder: Path, python: str | None) -> Path:
    """The Python of a virtual environment that has AccelForge, made if it is not there."""
    found = folder / "bin" / "python"
    if not found.exists():
        subprocess.run([python or recent_python(), "-m", "venv", folder], check=True)
        subprocess.run([found, "-m", "pip", "install", "--quiet", REQUIREMENT], check=True)
    return found


def recent_python() -> str:
    """The first Python from 3.12 on, on the path or among those of pyenv."""
    known = sorted(Path.home().glob(".pyenv/versions/3.1[2-9]*/bin/python"))
    on_path = (shutil.which(f"python3.{minor}") for minor in range(12, 20))
    for python in chain([sys.executable], on_path, map(str, known)):
        if python is None:
            continue
        asked = [python, "-c", "import sys; sys.exit(sys.version_info < (3, 12))"]
        if not subprocess.run(asked, check=False, capture_output=True).returncode:
            return python
    raise SystemExit("AccelForge needs a Python from 3.12 on, and none was found: give one with --python")


def run_peer(python: Path, inputs: Path | None, case: str, tokens: int) -> Outcome:
    command = [python, HERE / "peer.py", case, tokens, *([inputs] if inputs else [])]
    ran = subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True)
    found = json.loads(ran.stdout.splitlines()[-1])
    moved = {ours: (found["bytes"][name]["read"], found["bytes"][name]["write"]) for ours, name in MEMORIES.items()}
    clock, processor = found["seconds"]
    return Outcome(found["joules"], found["latency_s"], processor, clock, moved)


def workload_of(case: str, tokens: int) -> Workload:
    """The cascade of a case for so many tokens."""
    text = (HERE / f"{case}.yaml").read_text(encoding="utf-8").replace(f": {TOKENS}", f": {tokens}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{case}.yaml"
        file.write_text(text, encoding="utf-8")
        return with_precision(load_model(str(file)), BITS)


def run_accelsim(arch: Architecture, workload: Workload, objective: str = "energy") -> tuple[Outcome, MappingTree]:
    gc.collect()
    start = time.perf_counter(), time.process_time()
    mapping = map_workload(workload, arch, objective=objective)
    clock, processor = time.perf_counter() - start[0], time.process_time() - start[1]
    report = simulate(arch, workload, mapping=mapping)
    assert report.energy_J is not None
    passing = report.traffic_bytes["passing"]
    if objective == "energy" and passing["read"] != passing["write"]:  # else the energy is another machine's
        raise SystemExit(f"{workload.name}: weights were read again on their way past the global buffer: {passing}")
    moved = {m: (float(report.traffic_bytes[m]["read"]), float(report.traffic_bytes[m]["write"])) for m in MEMORIES}
    copies = (ARRAYS - 1) * report.traffic_bytes["lb_inputs"]["write"]  # of inputs, by columns; priced by the link
    moved["gb"] = moved["gb"][0] + copies, moved["gb"][1]
    return Outcome(report.energy_J, report.latency_s, processor, clock, moved), mapping


HEADINGS = ("", "energy mJ", "DRAM MB", "read", "written", "GB read MB", "written", "latency ms", "search s", "clock s")
ROW = "{:<22} {:>10} {:>9} {:>9} {:>9} {:>11} {:>9} {:>11} {:>9} {:>9}"


def row(name: str, x: Outcome) -> str:
    megabytes = (x.dram, *x.moved["dram"], *x.moved["gb"])
    return ROW.format(
        name, f"{x.joules * 1e3:.3f}", *(f"{n / 1e6:.1f}" for n in megabytes), f"{x.latency_s * 1e3:.3f}",
        f"{x.processor:.2f}", f"{x.clock:.2f}",
    )  # fmt: skip


def ratios(theirs: Outcome, ours: Outcome) -> str:
    pairs = [(ours.joules, theirs.joules), (ours.dram, theirs.dram)]
    pairs += [pair for m in ("dram", "gb") for pair in zip(ours.moved[m], theirs.moved[m], strict=True)]
    told = [f"{a / b:.4f}" for a, b in (*pairs, (ours.latency_s, theirs.latency_s))]
    times = theirs.processor / ours.processor, theirs.clock / ours.clock
    return ROW.format("accelsim / AccelForge", *told, *(f"1/{n:.0f}" for n in times))


def compared(python: Path, inputs: Path | None, arch: Architecture, case: str, tokens: int) -> bool:
    """Run one case on both and print it; whether accelsim needs no more energy and DRAM traffic."""
    theirs = run_peer(python, inputs, case, tokens)
    ours, _ = run_accelsim(arch, workload_of(case, tokens))
    print(f"\n{case}, {tokens} tokens, softmax one free element-wise Einsum")
    print(ROW.format(*HEADINGS))
    print(row("AccelForge", theirs))
    print(row("accelsim", ours))
    print(ratios(theirs, ours))
    print(f"  search: {theirs.processor / ours.processor:.0f} times less processor time (target {FASTER})")
    true = workload_of(f"{case}_softmax", tokens)
    print("  with softmax written out, for least energy and for least latency:")
    for objective in ("energy", "latency"):
        found, _ = run_accelsim(arch, true, objective)
        print(row(f"accelsim, {objective}", found))
        print(f"  {found.joules / ours.joules:.3f} times the energy and {found.latency_s / ours.latency_s:.3f} times "
              "the latency of the free one")  # fmt: skip
    sys.stdout.flush()
    no_more = 1 + TOLERANCE
    return ours.joules <= theirs.joules * no_more and ours.dram <= theirs.dram * no_more


def warm_up(arch: Architecture) -> None:
    """Load what is loaded once: the compiled kernels above all."""
    text = "X[m,n] = A[m,k] * B[k,n]\nY[m,n] = X[m,n]\nZ[m,o] = Y[m,n] * C[n,o]"
    workload = parse_cascade(text, {"m": 256, "n": 256, "k": 128, "o": 128}, bits=16)
    simulate(arch, workload, mapping=map_workload(workload, arch, objective="energy"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare all that is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--inputs", type=Path, help="folder with AccelForge's `arches` and `workloads`")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--tokens", type=int, default=TOKENS)
    parser.add_argument("--venv", type=Path, help="keep AccelForge's virtual environment here")
    parser.add_argument("--python", help="a Python from 3.12 on, to make that environment")
    given = parser.parse_args(arguments)
    if given.inputs is not None and not (machine := given.inputs / "arches" / "tpu_v4i.yaml").is_file():
        parser.error(f"--inputs: {machine} is not there; give the folder `examples` of AccelForge's repository")
    arch = load_architecture(str(HERE / "tpu_v4i.yaml"))
    warm_up(arch)
    with tempfile.TemporaryDirectory() as folder:
        python = peer_python((given.venv or Path(folder)).absolute(), given.python)
        good = [compared(python, given.inputs, arch, case, given.tokens) for case in given.cases]
    return int(not all(good))


if __name__ == "__main__":
    sys.exit(main())
