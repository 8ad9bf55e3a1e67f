"""Running one Program through both kernels, and comparing what comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np

from accelsim.engine import compiled, reference
from accelsim.engine.checker import check
from accelsim.engine.program import IntArray, Program
from accelsim.engine.trace import Trace
from accelsim.errors import ProgramError

RECORD = 10**6
"""More slices than any Program of the tests has firings."""

Outcome: TypeAlias = Trace | type[ProgramError]
Kernel: TypeAlias = Callable[[Program], Trace]


def outcome(kernel: Kernel, program: Program) -> Outcome:
    """The Trace of a run, or the class of the error it ended in."""
    try:
        return kernel(program)
    except ProgramError as error:
        return type(error)


def differences(one: Outcome, other: Outcome) -> list[str]:
    """What sets two outcomes apart; empty when they agree to the tick."""
    if isinstance(one, Trace) and isinstance(other, Trace):
        return one.differences(other)
    return [] if one is other else [f"{_kind(one)} against {_kind(other)}"]


def _kind(result: Outcome) -> str:
    return "a Trace" if isinstance(result, Trace) else result.__name__


def kernels(seed: int) -> Iterator[tuple[str, Kernel]]:
    """The kernels, by name, that must do as the reference kernel does; one in ten seeds adds the uncompiled one."""
    yield "reference, shuffled", lambda p: reference.run(p, seed=seed)
    yield "compiled", lambda p: compiled.run(p)
    yield "compiled, no jump", lambda p: compiled.run(p, jump=False)
    if seed % 10 == 0:
        yield "uncompiled", lambda p: compiled.run(p, python=True)


def firings(program: Program, *, seed: int = 0, jump: bool = True) -> dict[str, list[tuple[int, int]]]:
    """Start and end of every firing, by actor, in order; all kernels and the checker agree on the run."""
    trace = compiled.run(program, record=RECORD, jump=jump)
    assert check(program, trace) == []
    told = [outcome(kernel, program) for _, kernel in kernels(seed)]
    assert not [x for other in told[1:] for x in differences(told[0], other)]
    slices, found = trace.slices, dict[str, list[tuple[int, int]]]()
    assert slices is not None
    for actor, start, end in zip(slices.actor, slices.start, slices.end, strict=True):
        found.setdefault(program.actor_names[actor], []).append((int(start), int(end)))
    return found


def has_transient(trace: Trace) -> bool:
    """Whether some actor's firings become periodic only after a stretch that is not.

    The gaps between its starts recur with a lag over the second half of the run; a transient is there when they do not
    from the beginning.
    """
    assert trace.slices is not None
    for a in range(trace.program.n_actors):
        gaps = np.diff(trace.slices.start[trace.slices.actor == a])
        lag = _lag(gaps[len(gaps) // 2 :])
        if lag and not np.array_equal(gaps[:-lag], gaps[lag:]):
            return True
    return False


def _lag(gaps: IntArray) -> int:
    """The least lag with which a sequence recurs at least three times, leaving out its last tenth; 0 if none."""
    steady = gaps[: len(gaps) * 9 // 10]
    for lag in range(1, len(steady) // 3):
        if np.array_equal(steady[lag:], steady[:-lag]):
            return lag
    return 0
