"""Compiles numba's kernels before the tests, each in one worker: together they take minutes where no disk has them."""

from __future__ import annotations

from collections.abc import Callable

from accelsim.arch.loader import load_architecture
from accelsim.engine import compiled
from accelsim.lowering import lower
from accelsim.mapping.tree import Seq
from accelsim.simulation import load_mapper
from accelsim.workloads import load_model

from . import by_hand


def _engine() -> None:
    product = by_hand.cascade("C[m,n] = A[m,k] * B[k,n]", m=4, n=4, k=4)
    moves = [by_hand.load("A", "0"), by_hand.load("B", "0"), by_hand.store("C", "0")]
    mapping = by_hand.mapped(Seq((by_hand.array("C"),)), moves, "A B C")
    compiled.run(lower(by_hand.machine(), product, mapping))


def _layouts() -> None:
    load_mapper("tile")(load_model("alexnet", bits=8), load_architecture("eyeriss"))


SHARES: tuple[Callable[[], object], ...] = (_engine, _layouts)
"""Of about 35 and 45 s of processor time."""


def compile_ahead(worker: int, workers: int) -> None:
    """Compile what falls to one of so many workers."""
    for share in SHARES[worker::workers]:
        share()
