"""Seconds to pack a suite of buffers into one memory, such as MiniMalloc's.

    python benchmarks/minimalloc.py FOLDER [--nodes N]

FOLDER holds files NAME.CAPACITY.csv with the columns id, lower, upper and size, the form of google/minimalloc (folder
benchmarks). Prints for each file its buffers, the capacity, the peak, the nodes of the exact search and the seconds of
process time, in a warm process; checks every packing for overlaps. Exits with 1 if a file was not packed.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from itertools import combinations
from pathlib import Path

from accelsim.mappers.ilp.packing import DEFAULT_NODES, Buffer, pack


def load(file: Path) -> list[Buffer]:
    with file.open(newline="", encoding="utf-8") as lines:
        return [Buffer(r["id"], int(r["lower"]), int(r["upper"]), int(r["size"])) for r in csv.DictReader(lines)]


def overlaps(buffers: list[Buffer], addresses: dict[str, int]) -> bool:
    return any(
        b.lower < c.upper
        and c.lower < b.upper
        and addresses[b.name] < addresses[c.name] + c.size
        and addresses[c.name] < addresses[b.name] + b.size
        for b, c in combinations(buffers, 2)
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Seconds to pack a suite of buffers.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--nodes", type=int, default=DEFAULT_NODES)
    options = parser.parse_args()
    files = sorted(options.folder.glob("*.*.csv"))
    if not files:
        parser.error(f"{options.folder}: no files NAME.CAPACITY.csv")
    lives = [(5, 7, 2), (4, 7, 1), (7, 11, 3), (3, 6, 2), (6, 9, 4), (1, 5, 3), (0, 3, 4)]
    pack([Buffer(str(i), *life) for i, life in enumerate(lives)], 7)  # first fit does not settle it: numba compiles
    failed = 0
    print(f"{'case':24}{'buffers':>8}{'capacity':>12}{'peak':>12}{'nodes':>10}{'seconds':>10}")
    for file in files:
        buffers, capacity = load(file), int(file.name.split(".")[-2])
        start = time.process_time()
        got = pack(buffers, capacity, nodes=options.nodes)
        seconds = time.process_time() - start
        packed = got.addresses is not None and got.peak <= capacity and not overlaps(buffers, got.addresses)
        failed += not packed
        print(f"{file.name:24}{len(buffers):8}{capacity:12}{got.peak:12}{got.nodes:10}{seconds:10.3f}  {got.reason}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
