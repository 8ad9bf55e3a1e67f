"""Random cascades of Einsums, each made from a seed alone: products, maps, reductions, recurrences, any rank order."""

from __future__ import annotations

import random

from accelsim.errors import SpecError
from accelsim.ir import Workload, parse_cascade

SIZES = {"a": 2, "b": 3, "c": 2, "d": 4}


def random_cascade(seed: int) -> Workload | None:
    """Two to six Einsums over four ranks; None where what came out is no cascade."""
    rng = random.Random(seed)
    made: list[tuple[str, tuple[str, ...]]] = []
    """Tensors, and the indices under which they are read."""
    lines = [f"size {rank} = {size}" for rank, size in SIZES.items()]
    for i in range(rng.randint(2, 6)):
        reads = []
        for k in range(rng.randint(1, 3)):
            new = (f"X{i}{k}", tuple(rng.sample(list(SIZES), rng.randint(1, 3))))
            reads.append(rng.choice(made) if made and rng.random() < 0.75 else new)
        ranks = sorted({index[0].lower() for _, indices in reads for index in indices if index[0].islower()})
        if not ranks:
            continue
        out = [rank for rank in ranks if rng.random() < 0.7] or ranks[:1]
        rng.shuffle(out)
        operands = [f"{name}[{','.join(indices)}]" for name, indices in reads]
        value = operands[0]
        for operand in operands[1:]:
            value = f"{value} {rng.choice('*+-*')} {operand}"
        if rng.random() < 0.3:
            value = f"exp({value})"
        reduced = [rank for rank in ranks if rank not in out]
        name = f"T{i}"
        if not reduced and rng.random() < 0.25:
            step = rng.choice(out)
            after, start, before, end = (
                tuple(form if rank == step else rank for rank in out)
                for form in (f"{step}+1", "0", step, step.upper())
            )
            lines += [f"{name}[{','.join(start)}] = 0",
                      f"{name}[{','.join(after)}] = {name}[{','.join(before)}] + {value}"]
            made.append((name, rng.choice([after, before, end])))
        else:
            reduction = f"max({','.join(reduced)}) " if reduced and rng.random() < 0.4 else ""
            lines.append(f"{name}[{','.join(out)}] = {reduction}{value}")
            made.append((name, tuple(out)))
    try:
        return parse_cascade("\n".join(lines), name=f"random {seed}")
    except SpecError:
        return None
