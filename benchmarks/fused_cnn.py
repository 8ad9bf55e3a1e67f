"""CNNs fused with halos: layer by layer, recomputed, retained, and over several cores, simulated.

    python benchmarks/fused_cnn.py [--long] [--objective latency|energy|edp]

A block of MobileNetV2 and one of ResNet-18 (with `--long`, two blocks and the first stage: minutes), with elements of
8 bits, on a machine with one buffer and on two with three cores of different kinds (`arch_specs/three_cores.yaml`).
Prints bytes that pass the chip's edge, energy, cycles, multiply-accumulates over the model's, and processor time of the
mapper. On one core, groups run on the units of one memory; `layers` is one operator after the other, each on the core
and unit that suits it best.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

from accelsim import load_architecture, load_model, simulate
from accelsim.arch.architecture import Architecture
from accelsim.ir import Einsum, Role, Workload
from accelsim.mappers.cascade import map_workload
from accelsim.mapping.replay import replay
from accelsim.mapping.tree import Halo

PARTS = (
    ("mobilenet_v2", "inverted_2.unit.conv", "residual", "one block"),
    ("resnet18", "further.unit.conv", "further.relu_2", "one block"),
)
LONG = (
    ("mobilenet_v2", "inverted_2.unit.conv", "inverted_3.unit_2.batch_norm", "two blocks"),
    ("resnet18", "further.unit.conv", "further_2.relu_2", "first stage"),
)
MACHINES = ("edge_npu", "three_cores", "three_cores_shared")
AGAIN: frozenset[Halo] = frozenset({"clipped"})
RETAINED: frozenset[Halo] = frozenset({"retained"})
WAYS = (("recompute", AGAIN, False), ("retain", RETAINED, False), ("cores", AGAIN | RETAINED, True))


def part(model: str, first: str, last: str) -> Workload:
    """The Einsums of a model from one to another; what they read from before stands ready."""
    whole = load_model(model, bits=8)
    items = [item for item in whole.body if isinstance(item, Einsum)]
    names = [e.name for e in items]
    body = tuple(items[names.index(first) : names.index(last) + 1])
    made, out = {e.output.tensor for e in body}, body[-1].output.tensor
    tensors = {}
    for einsum in body:
        for access in (*einsum.inputs, einsum.output):
            tensor = whole.tensors[access.tensor]
            ready = access.tensor not in made and tensor.role is Role.ACTIVATION
            role = Role.OUTPUT if access.tensor == out else Role.INPUT if ready else tensor.role
            tensors[access.tensor] = replace(tensor, role=role)
    return Workload(f"{model} from {first} to {last}", tensors, body)


def compare(arch: Architecture, work: Workload, objective: str) -> None:
    start = time.process_time()
    layers = simulate(arch, work, mapper="tile", objective=objective)
    rows = [("layers", layers, 1.0, time.process_time() - start)]
    for name, halos, several in WAYS:
        if several and len({u.memory for u in arch.units.values()}) == 1:
            continue
        start = time.process_time()
        mapping = map_workload(work, arch, objective=objective, halos=halos, several_cores=several)
        seconds = time.process_time() - start
        macs = sum(replay(mapping, work, arch).macs.values()) / work.macs
        rows.append((name, simulate(arch, work, mapping=mapping, objective=objective), macs, seconds))
    for name, report, macs, seconds in rows:
        traffic = sum(report.traffic_bytes["dram"].values())
        energy = report.energy_dynamic_J
        print(
            f"  {name:10} {traffic / 1e6:8.3f} MB  {energy * 1e6:8.1f} uJ  {report.cycles:12,.0f} cycles  "
            f"MACs x{macs:.3f}  {layers.cycles / report.cycles:5.2f}x faster  {seconds:5.1f} s"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objective", default="latency", choices=("latency", "energy", "edp"))
    parser.add_argument("--long", action="store_true", help="longer chains")
    given = parser.parse_args()
    objective: str = given.objective
    for model, first, last, what in LONG if given.long else PARTS:
        work = part(model, first, last)
        for machine in MACHINES:
            print(f"{model}, {what}, on {machine}, for {objective}")
            compare(load_architecture(machine), work, objective)


if __name__ == "__main__":
    main()
