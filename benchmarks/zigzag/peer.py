"""Runs ZigZag on one of its own networks and machines; for the Python of an environment that has it.

python peer.py search NETWORK MACHINE MAPPING OBJECTIVE FOLDER
python peer.py count NETWORK MACHINE MAPPING NESTS FOLDER

`search` prints one line of JSON: seconds of the clock and of the processor, the file of the network, and the layers
with their best nests. `count` reads a file of JSON, for every layer by name some nests (for each operand the loops of
each of its memories), and prints what each costs, or null where it does not fit.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import ClassVar

import zigzag
from zigzag import api
from zigzag.cost_model.cost_model import CostModelEvaluation
from zigzag.datatypes import LayerDim, LayerOperand
from zigzag.hardware.architecture.memory_port import DataDirection
from zigzag.mapping.data_movement import DataMoveAttr
from zigzag.mapping.temporal_mapping import TemporalMapping, TemporalMappingType
from zigzag.stages.evaluation.cost_model_evaluation import CostModelStage
from zigzag.stages.main import MainStage
from zigzag.stages.mapping.spatial_mapping_generation import SpatialMappingGeneratorStage
from zigzag.stages.parser.accelerator_parser import AcceleratorParserStage
from zigzag.stages.parser.onnx_model_parser import ONNXModelParserStage
from zigzag.stages.stage import Stage
from zigzag.stages.workload_iterator import WorkloadStage

INPUTS = Path(zigzag.__file__).parent / "inputs"


def unrounded(cme: CostModelEvaluation) -> float:
    """Picojoules when a memory's energy follows the bits that move, not the words of its smallest width."""
    total = cme.mac_energy
    for operand in cme.layer.layer_operands:
        name = cme.memory_operand_links.layer_to_mem_op(operand)
        for number in range(cme.mapping.mem_level[operand]):
            memory = cme.accelerator.get_memory_level(name, number)
            moves = cme.mapping.unit_mem_data_movement[operand][number]
            units = cme.mapping.spatial_mapping.unit_count[operand][number + 1]
            for way in DataDirection:
                width = memory.get_max_bandwidth(name, way)
                if width:
                    price = memory.read_energy if way.startswith("rd") else memory.write_energy
                    bits = units
                    for factor in ("DATA_TRANS_AMOUNT_PER_PERIOD", "DATA_PRECISION", "DATA_TRANS_PERIOD_COUNT"):
                        bits *= moves.get_attribute(DataMoveAttr[factor]).get(way)
                    total += bits / width * price
    return total


def dram_words(cme: CostModelEvaluation) -> int:
    """Words that pass the port of the outermost memory."""
    return sum(levels[-1].get(way) for levels in cme.memory_word_access.values() for way in DataDirection)


def fits(cme: CostModelEvaluation) -> bool:
    """Whether every memory holds what its operands have there, each once."""
    return all(share <= 1 for shares in cme.mem_utili_shared.values() for share in shares)


def costs(cme: CostModelEvaluation) -> dict:
    """Figures of one layer: picojoules, the same unrounded, cycles, words of the DRAM's port."""
    return {
        "macs": cme.layer.total_mac_count,
        "pj": cme.energy_total,
        "exact_pj": unrounded(cme),
        "cycles": cme.latency_total2,
        "words": dram_words(cme),
    }


def described(cme: CostModelEvaluation) -> dict:
    """A layer with its nest: loops of every memory of every operand, innermost first, and what lies side by side."""
    levels = cme.temporal_mapping.mapping_dic_origin
    spread = {}
    for along, mine in cme.layer.spatial_mapping.items():
        for dimension, points in mine.items():
            spread[str(along)] = (str(dimension), points)
    return {
        "name": cme.layer.name,
        **costs(cme),
        "sizes": {str(d): n for d, n in cme.layer.layer_dim_sizes.items()},
        "levels": {str(o): [[(str(d), n) for d, n in level] for level in mine] for o, mine in levels.items()},
        "spread": spread,
    }


class GivenNests(Stage):
    """Evaluates the nests that were given for a layer, in the place of a search."""

    nests: ClassVar[dict[str, list]] = {}

    def __init__(self, list_of_callables, *, accelerator, layer, spatial_mapping, **kwargs):
        super().__init__(list_of_callables, **kwargs)
        self.accelerator, self.layer, self.spatial_mapping = accelerator, layer, spatial_mapping

    def run(self):
        for given in self.nests.get(self.layer.name, []):
            levels = {
                LayerOperand(o): [[(LayerDim(d), n) for d, n in level] for level in mine] for o, mine in given.items()
            }
            nest = TemporalMapping(levels, self.layer, TemporalMappingType.UNEVEN)
            below = self.list_of_callables[0](
                self.list_of_callables[1:], accelerator=self.accelerator, layer=self.layer,
                spatial_mapping=self.spatial_mapping, temporal_mapping=nest, **self.kwargs,
            )  # fmt: skip
            yield from below.run()


def counted(file: Path, machine: Path, mapping: Path, nests: dict[str, list]) -> dict[str, list]:
    """What every nest of every layer costs."""
    GivenNests.nests = nests
    stages = [
        ONNXModelParserStage, AcceleratorParserStage, WorkloadStage, SpatialMappingGeneratorStage, GivenNests,
        CostModelStage,
    ]  # fmt: skip
    main = MainStage(
        stages, accelerator=str(machine), workload=str(file), mapping=str(mapping), nb_mappings_generated=3,
        enable_mix_spatial_mapping_generation=False, access_same_data_considered_as_no_access=True,
    )  # fmt: skip
    found: dict[str, list] = {}
    for cme, _ in main.run():
        found.setdefault(cme.layer.name, []).append(costs(cme) if fits(cme) else None)
    return found


def searched(file: Path, machine: Path, mapping: Path, objective: str, folder: str) -> dict:
    """The best nests of all layers, and the time that they took."""
    start = time.perf_counter(), time.process_time()
    *_, found = api.get_hardware_performance_zigzag(
        str(file), str(machine), str(mapping), opt=objective, dump_folder=folder, loma_show_progress_bar=False
    )
    seconds = time.perf_counter() - start[0], time.process_time() - start[1]
    return {"seconds": seconds, "file": str(file), "layers": [described(c) for c, _ in found[0][1]]}


def main() -> None:
    what, network, machine, mapping, given, folder = sys.argv[1:]
    logging.disable(logging.CRITICAL)
    files = [
        INPUTS / "workload" / f"{network}.onnx",
        INPUTS / "hardware" / f"{machine}.yaml",
        INPUTS / "mapping" / f"{mapping}.yaml",
    ]
    if what == "search":
        found: object = searched(*files, given, folder)
    else:
        found = counted(*files, json.loads(Path(given).read_text()))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
