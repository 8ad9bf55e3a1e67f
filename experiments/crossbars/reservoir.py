"""A liquid state machine: a recurrent reservoir of spiking neurons with fixed random weights, and counts of its spikes.

In every step neurons add up weighted spikes of the events and of each other to what they keep of their potential, fire
above a threshold and begin again: ``V = d V (1 - S) + W x + R S``, ``S = V > 1``.
"""

from __future__ import annotations

from ...ir import Workload
from ...ir.build import WorkloadBuilder
from ...ir.einsum import Apply, Const, Expr, Read

DECAY = 0.9
SPIKE, WEIGHT, POTENTIAL = 1, 4, 8
"""Bits."""


def _times(a: Expr, b: Expr) -> Expr:
    return Apply("mul", (a, b))


def reservoir(name: str, events: int, neurons: int, steps: int) -> Workload:
    """So many steps; inputs of one bit per step, weights the same in every step."""
    b = WorkloadBuilder(name, bits=POTENTIAL)
    kept = b.input("potential", (1, neurons))
    spikes = b.input("spikes", (1, neurons), bits=SPIKE)
    counts = b.input("counts", (1, neurons))
    w, r = b.weight("w", (events, neurons), bits=WEIGHT), b.weight("r", (neurons, neurons), bits=WEIGHT)
    with b.repeat("step", steps, shared=("w", "r")) as scope:
        x = b.input("events", (1, events), bits=SPIKE)
        driven = b.matmul(x, w, name="input", bits=POTENTIAL)
        inside = b.matmul(spikes, r, name="recurrent", bits=POTENTIAL)
        left = _times(_times(Read(0), Const(DECAY)), Apply("sub", (Const(1.0), Read(1))))
        both = Apply("add", (Apply("add", (left, Read(2))), Read(3)))
        v = b.elementwise(both, kept, spikes, driven, inside, name="potentials", bits=POTENTIAL)
        s = b.elementwise(Apply("less", (Const(1.0), Read(0))), v, name="fire", bits=SPIKE)
        c = b.elementwise("add", counts, s, name="count", bits=POTENTIAL)
        for made, held in ((v, kept), (s, spikes), (c, counts)):
            scope.carry(made, held)
    b.output(b.matmul(c, b.weight("readout", (neurons, 10), bits=POTENTIAL), name="readout"))
    return b.build()
