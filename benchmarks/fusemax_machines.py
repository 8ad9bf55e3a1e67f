"""How far above the bounds of their Programs FuseMax's binding is simulated on machines and models at random.

    python benchmarks/fusemax_machines.py --seed 1 --number 200
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from random import Random

from accelsim.errors import DoesNotFit
from accelsim.experiments.fusemax.cascade import MODELS
from accelsim.experiments.fusemax.ladder import run
from accelsim.experiments.fusemax.machines import side_values

BAND = 1.05
SEQUENCES = 4


def main() -> None:
    """Prints every machine outside the band, and how many there are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--number", type=int, default=200)
    args = parser.parse_args()
    rng = Random(args.seed)
    outside = too_small = 0
    for number in range(args.number):
        side = rng.choice([16, 32, 48, 64, 96, 128, 192, 256, 384, 512])
        size = rng.choice([32, 48, 64, 80, 96, 128, 192, 256])
        buffer, clock = rng.choice([1, 2, 3, 4, 8, 16, 32]), rng.randint(300, 3000)
        exp, blocks = rng.randint(1, 12), rng.choice([8, 16, 64])
        values = {
            **side_values(side), "clock": f"{clock} MHz", "memories.buffer.capacity": f"{buffer} MiB",
            "units.array2d.rates.exp": f"1/{exp}", "units.array1d.rates.exp": f"1/{exp}",
        }  # fmt: skip
        what = f"{number:3}: side {side}, heads of {size}, {buffer} MiB, {clock} MHz, exp in {exp}, {blocks} blocks"
        try:
            report = run("binding", replace(MODELS[0], head_size=size), side * blocks, tuple(values.items()), SEQUENCES)
        except DoesNotFit:
            too_small += 1
            continue
        ratio = report.cycles / report.bounds.program
        if not 1 <= ratio <= BAND:
            outside += 1
            print(f"{what}: {ratio - 1:+.1%}", flush=True)
    print(f"{outside} of {args.number} are outside the band, {too_small} have no room for any tiles")


if __name__ == "__main__":
    main()
