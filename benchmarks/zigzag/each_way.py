"""ZigZag's and accelsim's nests for the same layers, each in both ways of counting.

python benchmarks/zigzag/each_way.py [--models NAME ...] [--machines NAME ...] [--objectives NAME ...] [--venv FOLDER]

Takes the arguments of `compare.py`, and `--keep FOLDER` for what ZigZag finds (read again where it is there already).
accelsim's Mapping of every layer is said as a nest of ZigZag's and evaluated by ZigZag's own cost model, beside the
nest that ZigZag's search found; that one becomes Mappings of accelsim (one or two buffers for every tensor in every
memory), of which the best one in accelsim's simulation stands beside accelsim's own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compare import BITS, HERE, MAPPINGS, MODELS, layers_of, machine_for, parser_of, peer_python, search, warm_up
from nests import Nest, mappings_of, nests_of

from accelsim.arch.architecture import Architecture
from accelsim.errors import AccelsimError
from accelsim.ir import Einsum, Workload
from accelsim.ir.precision import with_precision
from accelsim.ir.signature import signature
from accelsim.ir.standalone import standalone
from accelsim.mapping.tree import Mapping as MappingValue
from accelsim.simulation import simulate
from accelsim.workloads import load_model

MEASURE = {"energy": "pj", "latency": "cycles"}


@dataclass(frozen=True)
class Cost:
    """Picojoules and cycles of one layer."""

    pj: float
    cycles: float


@dataclass(frozen=True)
class Row:
    """One layer: ZigZag's nest and accelsim's, as ZigZag counts and as accelsim does; None where it cannot be said.

    Attributes:
        exact: whether accelsim's nest is one of ZigZag's, and not the nearest one.
    """

    theirs: Cost
    ours_there: Cost | None
    exact: bool
    ours: Cost
    theirs_here: Cost | None


def simulated(arch: Architecture, workload: Workload, mapping: MappingValue) -> Cost | None:
    """What a Mapping costs; None where it does not fit."""
    try:
        report = simulate(arch, workload, mapping=mapping)
    except AccelsimError:
        return None
    assert report.energy_J is not None
    return Cost(report.energy_J * 1e12, float(report.cycles))


def least(costs: Sequence[Cost | None], objective: str) -> Cost | None:
    """The least by the objective."""
    return min((c for c in costs if c is not None), key=lambda c: getattr(c, MEASURE[objective]), default=None)


def count(python: Path, model: str, machine: str, nests: Mapping[str, Sequence[Nest]]) -> dict[str, list[Cost | None]]:
    """What nests cost in ZigZag's cost model."""
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "nests.json"
        given.write_text(json.dumps({name: [n.levels for n in mine] for name, mine in nests.items()}))
        command = [python, HERE / "peer.py", "count", MODELS[model], machine, MAPPINGS[machine], given, folder]
        ran = subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True)
    found = json.loads(ran.stdout.splitlines()[-1])
    return {name: [c and Cost(c["pj"], c["cycles"]) for c in costs] for name, costs in found.items()}


def both(python: Path, found: Mapping[str, Any], model: str, machine: str, objective: str) -> dict[str, Row]:
    """The rows of one case, by layer."""
    workload = with_precision(load_model(found["file"]), BITS)
    einsums: dict[str, Einsum] = {e.name: e for e in layers_of(workload)}
    ours: dict[str, Cost] = {}
    here: dict[str, Cost | None] = {}
    nests: dict[str, list[Nest]] = {}
    known: dict[Hashable, Cost | None] = {}
    for layer in found["layers"]:
        name = layer["name"]
        einsum, like = einsums[name], Nest.read(layer)
        arch, alone = machine_for(machine, einsum), standalone(workload, einsum)
        report = simulate(arch, alone, objective=objective)
        assert report.energy_J is not None and report.mapping is not None
        ours[name] = Cost(report.energy_J * 1e12, float(report.cycles))
        nests[name] = nests_of(report.mapping, einsum, arch, like)
        key = signature(einsum), like.loops, tuple(like.held.values()), tuple(like.spread.items())
        if key not in known:
            made = mappings_of(like, report.mapping, einsum, arch)
            known[key] = least([simulated(arch, alone, m) for m in made], objective)
        here[name] = known[key]
    there = count(python, model, machine, nests)
    return {
        layer["name"]: Row(
            Cost(layer["pj"], layer["cycles"]),
            least(there[layer["name"]], objective),
            all(n.exact for n in nests[layer["name"]]),
            ours[layer["name"]],
            here[layer["name"]],
        )
        for layer in found["layers"]
    }


LINE = "{:<46} {:>12} {:>12} {:>7} {:>2} {:>12} {:>12} {:>7}"
HEADINGS = ("layer", "by ZigZag", "accelsim's", "ratio", "", "ZigZag's", "by accelsim", "ratio")


def table(rows: Mapping[str, Row], objective: str) -> None:
    """Print a line per layer and the sums; `~` where accelsim's tiles are ragged, and the nearest nest is counted."""
    what = MEASURE[objective]
    print(LINE.format("", f"{what}, counted", "by ZigZag", "", "", f"{what}, run", "by accelsim", ""))
    print(LINE.format("layer", "ZigZag", "accelsim", "ratio", "", "ZigZag", "accelsim", "ratio"))
    sums = [0.0] * 4
    worse = [0, 0]
    for name, row in rows.items():
        shown = [getattr(c, what) if c else None for c in (row.theirs, row.ours_there, row.theirs_here, row.ours)]
        ratios = ["-" if None in pair else f"{pair[1] / pair[0]:.4f}" for pair in (shown[:2], shown[2:])]
        cells = ["-" if x is None else f"{x:,.0f}" for x in shown]
        print(LINE.format(name[-46:], *cells[:2], ratios[0], "" if row.exact else "~", *cells[2:], ratios[1]))
        for side, (a, b) in enumerate((shown[:2], shown[2:])):
            if a is not None and b is not None:
                sums[2 * side], sums[2 * side + 1] = sums[2 * side] + a, sums[2 * side + 1] + b
                worse[side] += b > a * (1 + 1e-6)
    ratios = [f"{sums[i + 1] / sums[i]:.4f}" if sums[i] else "-" for i in (0, 2)]
    cells = [f"{x:,.0f}" for x in sums]
    print(LINE.format("all that both can say", *cells[:2], ratios[0], "", *cells[2:], ratios[1]))
    print(f"  accelsim's is worse in {worse[0]} layers as ZigZag counts, in {worse[1]} as accelsim does", flush=True)


def case(python: Path, keep: Path, model: str, machine: str, objective: str) -> dict[str, Row]:
    """One case; what ZigZag found is kept."""
    file = keep / f"{model}-{machine}-{objective}.found"
    if not file.exists():
        file.write_text(json.dumps(search(python, model, machine, objective)))
    return both(python, json.loads(file.read_text()), model, machine, objective)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare all that is asked for, both ways."""
    parser = parser_of(__doc__)
    parser.add_argument("--keep", type=Path, help="keep what ZigZag finds here")
    given = parser.parse_args(arguments)
    warm_up()
    with tempfile.TemporaryDirectory() as folder:
        python = peer_python((given.venv or Path(folder)).absolute())
        for model in given.models:
            for machine in given.machines:
                for objective in given.objectives:
                    print(f"\n{model} on {machine}, objective {objective}")
                    table(case(python, given.keep or Path(folder), model, machine, objective), objective)
    return 0


if __name__ == "__main__":
    sys.exit(main())
