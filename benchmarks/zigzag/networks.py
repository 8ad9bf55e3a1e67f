"""Whole networks: what ZigZag 3.9.1 finds for all layers together, and accelsim's run of the same layers in one go.

python benchmarks/zigzag/networks.py [--models NAME ...] [--machines NAME ...] [--objectives NAME ...] [--venv FOLDER]

Takes the arguments of `compare.py`, and `--keep FOLDER` for what ZigZag finds (read again where it is there already,
with the time that it took then). ZigZag takes every layer from DRAM to DRAM and adds them up. accelsim is given the
network of the same layers (`connected`): a result may stay on the chip for the layer that reads it, and weights may
come while a layer before runs.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from compare import BITS, layers_of, machine_for, parser_of, peer_python, search, spec_of, warm_up

from accelsim.arch.architecture import Architecture
from accelsim.ir import Einsum, Role, Tensor, View, Workload
from accelsim.ir.precision import with_precision
from accelsim.ir.validate import validate
from accelsim.mappers.aims import AIMS
from accelsim.mappers.tile.nest import Shortfall
from accelsim.mappers.tile.network import Child, Network
from accelsim.mappers.tile.plans import Path as Scope
from accelsim.mappers.tile.search import Plan, Task, best_plan
from accelsim.mappers.tile.trial import faster
from accelsim.mapping.constraints import Constraints
from accelsim.report import Report
from accelsim.simulation import simulate
from accelsim.workloads import load_model

REGISTERS = "wrf"
"""The memory of `tpu_like` that is the register files of all elements together."""


def connected(workload: Workload) -> Workload:
    """The layers that ZigZag runs, alone: operators of one result per element between them are left out.

    What such an operator makes of a layer's result is taken as that result, of a sum of two the one that is made last.
    Where the operators between two layers change the size (pooling), the later one reads an operand of its own from
    the DRAM, and the earlier one's result goes there.
    """
    layers = {e.name for e in layers_of(workload)}
    made: dict[str, str] = {}
    """Tensor to the result of a layer whose elements it has."""
    tensors: dict[str, Tensor] = {}
    body: list[Einsum | View] = []
    read: set[str] = set()

    def size(name: str) -> int:
        return prod(workload.tensors[name].shape)

    for item in workload.body:
        if isinstance(item, View):
            if item.input in made:
                made[item.output] = made[item.input]
        elif isinstance(item, Einsum) and item.name in layers:
            first, *others = (a.tensor for a in item.inputs)
            tensors |= {name: workload.tensors[name] for name in (first, *others, item.output.tensor)}
            if first not in made:
                tensors[first] = replace(tensors[first], role=Role.INPUT)
            elif first != made[first]:
                body.append(View(first, made[first]))
            read.add(made.get(first, first))
            body.append(item)
            made[item.output.tensor] = item.output.tensor
        elif isinstance(item, Einsum):
            out = item.output.tensor
            like = [made[a.tensor] for a in item.inputs if a.tensor in made and size(a.tensor) == size(out)]
            if like:
                made[out] = like[-1]
    for item in body:
        if isinstance(item, Einsum):
            out = item.output.tensor
            tensors[out] = replace(tensors[out], role=Role.ACTIVATION if out in read else Role.OUTPUT)
    found = Workload(workload.name, tensors, tuple(body))
    validate(found)
    return found


def within_elements(task: Task) -> Plan | Shortfall:
    """The plan of a layer whose weights are in the register files of those elements alone that it keeps busy."""
    room = machine_for("tpu_like", task.einsum).memories[REGISTERS].capacity
    return best_plan(replace(task, budgets={**task.budgets, REGISTERS: room}))


class Elements(Network):
    """A network on `tpu_like`, of whose register files a layer has those of the elements that it keeps busy."""

    def __init__(self, workload: Workload, arch: Architecture, objective: str) -> None:
        self._owned = {e.name: machine_for("tpu_like", e).memories[REGISTERS].capacity for e in layers_of(workload)}
        super().__init__(workload, arch, AIMS[objective], Constraints(), within_elements)

    def _room_beside(self, path: Scope, child: Child) -> dict[str, int]:
        """Also for layers to come with the fewest elements: the share of each file that is free while this one runs."""
        items = self.flow.scopes[path].items
        names = [item.name for item in items[child.item :] if isinstance(item, Einsum)]
        free = 1 - self.plans[path, child.item].working_set.get(REGISTERS, 0) / self._owned[names[0]]
        fewest = min((self._owned[name] for name in names[1:]), default=0)
        return super()._room_beside(path, child) | {REGISTERS: int(free * fewest)}


def run(workload: Workload, machine: str, objective: str) -> Report:
    """Map and simulate a network of layers."""
    arch = spec_of(machine).build()
    if machine != "tpu_like":
        return simulate(arch, workload, objective=objective)
    mapping, _ = faster(Elements(workload, arch, objective))
    return simulate(arch, workload, objective=objective, mapping=mapping)


@dataclass(frozen=True)
class Totals:
    """Of a network: picojoules, cycles, 64-bit words over the port of the DRAM, seconds of the processor."""

    pj: float
    cycles: float
    words: float
    seconds: float


def totals(found: Mapping[str, Any], machine: str, objective: str) -> tuple[Totals, Totals]:
    """ZigZag's and accelsim's."""
    pj, cycles, words = (sum(layer[what] for layer in found["layers"]) for what in ("pj", "cycles", "words"))
    theirs = Totals(pj, cycles, words, found["seconds"][1])
    start = time.process_time()
    report = run(connected(with_precision(load_model(found["file"]), BITS)), machine, objective)
    seconds = time.process_time() - start
    assert report.energy_J is not None
    moved = sum(report.traffic_bytes["dram"].values()) / 8
    return theirs, Totals(report.energy_J * 1e12, float(report.cycles), moved, seconds)


LINE = "{:<14} {:<15} {:<9} {:>12} {:>12} {:>7} {:>12} {:>12} {:>7} {:>7} {:>6}"
HEADINGS = ("network", "machine", "objective", "ZigZag uJ", "accelsim", "ratio", "cycles", "accelsim", "ratio",
            "words", "time")  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare all that is asked for; 1 where what the objective asks for is above ZigZag's."""
    parser = parser_of(__doc__)
    parser.add_argument("--keep", type=Path, help="keep what ZigZag finds here")
    given = parser.parse_args(arguments)
    warm_up()
    above = False
    print(LINE.format(*HEADINGS))
    with tempfile.TemporaryDirectory() as folder:
        python = peer_python((given.venv or Path(folder)).absolute())
        for model in given.models:
            for machine in given.machines:
                for objective in given.objectives:
                    file = (given.keep or Path(folder)) / f"{model}-{machine}-{objective}.found"
                    if not file.exists():
                        file.write_text(json.dumps(search(python, model, machine, objective)))
                    a, b = totals(json.loads(file.read_text()), machine, objective)
                    energy, cycles = b.pj / a.pj, b.cycles / a.cycles
                    above |= (energy if objective == "energy" else cycles) > 1
                    print(LINE.format(
                        model, machine, objective, f"{a.pj / 1e6:,.1f}", f"{b.pj / 1e6:,.1f}", f"{energy:.4f}",
                        f"{a.cycles:,.0f}", f"{b.cycles:,.0f}", f"{cycles:.4f}", f"{b.words / a.words:.4f}",
                        f"{a.seconds / b.seconds:.0f}",
                    ), flush=True)  # fmt: skip
    return int(above)


if __name__ == "__main__":
    sys.exit(main())
