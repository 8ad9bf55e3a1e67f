"""Runs ZigZag on one of its own networks and machines; for the Python of an environment that has it.

python peer.py NETWORK MACHINE MAPPING OBJECTIVE FOLDER

Prints one line of JSON: seconds of the clock and of the processor, the file of the network, and by layer its MACs,
picojoules, picojoules without rounding up to words, cycles, and words that the port of the DRAM moves.
"""

import json
import logging
import sys
import time
from pathlib import Path

import zigzag
from zigzag.api import get_hardware_performance_zigzag
from zigzag.hardware.architecture.memory_port import DataDirection
from zigzag.mapping.data_movement import DataMoveAttr

INPUTS = Path(zigzag.__file__).parent / "inputs"


def unrounded(cme) -> float:
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


def dram_words(cme) -> int:
    """Words that pass the port of the outermost memory."""
    return sum(levels[-1].get(way) for levels in cme.memory_word_access.values() for way in DataDirection)


def main() -> None:
    network, machine, mapping, objective, folder = sys.argv[1:]
    logging.disable(logging.CRITICAL)
    file = INPUTS / "workload" / f"{network}.onnx"
    start = time.perf_counter(), time.process_time()
    *_, found = get_hardware_performance_zigzag(
        str(file),
        str(INPUTS / "hardware" / f"{machine}.yaml"),
        str(INPUTS / "mapping" / f"{mapping}.yaml"),
        opt=objective,
        dump_folder=folder,
        loma_show_progress_bar=False,
    )
    seconds = time.perf_counter() - start[0], time.process_time() - start[1]
    layers = [
        (c.layer.name, c.layer.total_mac_count, c.energy_total, unrounded(c), c.latency_total2, dram_words(c))
        for c, _ in found[0][1]
    ]
    print(json.dumps({"seconds": seconds, "file": str(file), "layers": layers}))


if __name__ == "__main__":
    main()
