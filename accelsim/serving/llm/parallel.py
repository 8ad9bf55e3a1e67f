"""What each socket of a replica has of a model: experts and stages; exchanges that overlap with compute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

from ...engine import compiled
from ...engine.builder import Phase, ProgramBuilder, Run
from ...engine.program import Server
from ...errors import BadInput
from ...workloads.transformer import Experts, Layer, Transformer

_HZ = Fraction(10**12)


class AllToAll(NamedTuple):
    """Tokens on their way to the sockets of their experts, and back: `elements` per token, `times` per pass."""

    elements: int
    times: int


def expert_parallel(model: Transformer, degree: int) -> Transformer:
    """One socket's share where each of `degree` sockets has an equal part of the experts, and all else whole.

    Every socket runs the attention of its own sequences, so that a step of T tokens is one of T / `degree` on each; its
    experts then have the rows of all sockets' tokens, as many as it sends away (GShard, arXiv:2006.16668, with balanced
    load).

    Raises:
        BadInput: the model has no experts, or `degree` does not divide their number.
    """
    if degree == 1:
        return model
    counts = sorted({layer.mlp.count for layer in model.layers if isinstance(layer.mlp, Experts)})
    if degree < 1 or not counts or any(count % degree for count in counts):
        have = f"{', '.join(map(str, counts))} experts a layer" if counts else "no experts"
        raise BadInput(f"{model.name}: expert parallelism of {degree} sockets, and {have} (a divisor of their number)")

    def share(layer: Layer) -> Layer:
        if not isinstance(layer.mlp, Experts):
            return layer
        return replace(layer, mlp=replace(layer.mlp, count=layer.mlp.count // degree))

    return replace(model, layers=tuple(map(share, model.layers)))


def dispatches(model: Transformer, degree: int) -> tuple[AllToAll, ...]:
    """The exchanges of `expert_parallel`: each token goes to its experts, and their results come back."""
    if degree == 1:
        return ()
    layers = [layer.mlp for layer in model.layers if isinstance(layer.mlp, Experts)]
    active = sorted({mlp.active for mlp in layers})
    return tuple(AllToAll(a * model.hidden, 2 * sum(mlp.active == a for mlp in layers)) for a in active)


def stages(model: Transformer, degree: int) -> tuple[Transformer, ...]:
    """A model in `degree` stages of equally many layers, one after the other (GPipe, arXiv:1811.06965).

    Raises:
        BadInput: `degree` does not divide the number of layers.
    """
    count = len(model.layers)
    if degree < 1 or count % degree:
        fits = [d for d in range(1, count + 1) if count % d == 0]
        raise BadInput(f"{model.name}: pipeline parallelism of {degree} stages does not divide {count} layers "
                       f"({', '.join(map(str, fits))} do)")  # fmt: skip
    each = count // degree
    return tuple(replace(model, layers=model.layers[i * each : (i + 1) * each]) for i in range(degree))


def overlapped_seconds(compute_s: float, exchange_s: float, times: int, parts: int) -> float:
    """`times` rounds of compute and then an exchange, of `parts` parts each, simulated.

    A part's next round waits for its exchange; while that is on its way other parts compute.

    Args:
        compute_s: seconds of one round of one part.
        exchange_s: of its exchange.
        times: rounds.
        parts: that take turns.
    """
    b = ProgramBuilder("overlap", tick_hz=_HZ)
    compute, network = b.server(Server("compute")), b.server(Server("network"))
    works = [max(1, round(seconds * float(_HZ))) for seconds in (compute_s, exchange_s)]
    for _ in range(parts):
        runs, sends = b.actor("compute", server=compute), b.actor("exchange", server=network)
        there, back = b.fifo(runs, sends, depth=1), b.fifo(sends, runs, depth=1, init=1)
        b.schedule(runs, [Run(Phase(works[0], inputs=((back, 1, 1),), outputs=((there, 1, 1),)), times)])
        b.schedule(sends, [Run(Phase(works[1], inputs=((there, 1, 1),), outputs=((back, 1, 1),)), times)])
    return compiled.run(b.build()).finish / float(_HZ)


def parts_of(most: int, tokens: int) -> Sequence[int]:
    """Numbers of parts that a step may be cut in: powers of two, beside 1."""
    found, parts = [], 2
    while parts <= min(most, tokens):
        found.append(parts)
        parts *= 2
    return found
