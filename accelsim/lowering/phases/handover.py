"""What passes between two tasks piece by piece, and what only as a whole."""

from __future__ import annotations

from .task import Read, Task


def walks(read: Read, rank: str) -> int | None:
    """The dimension of a tensor that a rank of its reader walks along; None where there is none."""
    return next((d for d, ranks in enumerate(read.dims) if ranks and ranks[0] == rank), None)


def hands_on(maker: Task, maker_outer: str, reader_outer: str, read: Read) -> bool:
    """Whether a tensor can pass between two tasks piece by piece.

    Both walk along the same dimension of it in their outermost loop: the maker completes it in that order, and the
    reader never needs what comes later.
    """
    if not maker_outer or maker_outer not in maker.output_dims:
        return False
    dim = maker.output_dims.index(maker_outer)
    if walks(read, reader_outer) != dim:
        return False
    if not read.shape:
        return True
    mine = tuple(maker.sizes.get(r, 1) for r in maker.output_dims)
    return read.shape[: dim + 1] == mine[: dim + 1]
