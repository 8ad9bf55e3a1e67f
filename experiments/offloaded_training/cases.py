"""Models of the published runs as parts, and the simulations of each."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from ...mappers.offload import Block, Machine, Model, Part, Policy, Rates, Work, simulate
from ...mappers.offload.machine import Role
from ...mappers.offload.training import Activations, Trained, Trainer, train
from ...mapping.tiers.problem import Tier
from ..loader import Changes, figures_of, table

SEQUENCE = 1024
SSDS_BATCH = 16
FAST = 1e15
"""Bytes per second of what does not matter."""


@cache
def figures(changes: Changes = ()) -> Mapping[str, float]:
    return figures_of(table(__package__ or "", "machine.csv"), changes)


def gpt(layers: int, hidden: int) -> Model:
    """Layers of 12 hidden^2 weights at 16 bits; attention keeps no scores (as kernels with running sums do).

    Made are queries, keys, values, what attention gives, its projection, and 4 and 1 times the width in the MLP.
    """
    weights = 12 * hidden**2
    attention = 4 * SEQUENCE**2 * hidden
    made = 2 * SEQUENCE * hidden * (3 + 1 + 1 + 4 + 1)
    work = Work(2 * weights * SEQUENCE, attention, made)
    part = Part("layer", layers, 2 * weights, 4 * hidden, work, Work(2 * weights, 4 * hidden, made // SEQUENCE), 1)
    return Model(f"GPT of {layers} layers of {hidden}", (part,), 2 * hidden)


def efficiency(bandwidth: float, batch: int, peak: float = 70e12) -> float:
    """Share of a forward pass in which it computes, where every layer's weights come before it (ZeRO-Infinity)."""
    model = gpt(16, 8192)
    rates = Rates(_ways(bandwidth), _ways(FAST), peak, FAST, ahead=False)
    machine = Machine("slow memory", (Tier("gpu"), Tier("slow")), rates, rates)
    here, away = (1.0, 0.0), (0.0, 1.0)
    block = Block(batch, 1, SEQUENCE, 1)
    seconds, _ = simulate(machine, model, block, Policy(away, here, here, False), "prefill", SEQUENCE)
    operations = batch * sum(p.count * p.prefill.products for p in model.parts)
    return operations / peak / seconds


def window(ratio: float) -> float:
    """Time of a pass whose weights come one block ahead, over that of the slower of loading and computing."""
    model, peak = gpt(32, 4096), 1e13
    part = model.parts[0]
    computing = part.decode.products / peak
    rates = Rates(_ways(part.weight_bytes / (ratio * computing)), _ways(FAST), peak, FAST)
    machine = Machine("window", (Tier("gpu"), Tier("flash")), rates, rates)
    here, away = (1.0, 0.0), (0.0, 1.0)
    block = Block(1, 1, SEQUENCE, 2)
    seconds, _ = simulate(machine, model, block, Policy(away, here, here, False), "decode", SEQUENCE)
    return seconds / (part.count * computing * max(1.0, ratio))


def _ways(bandwidth: float) -> tuple[Mapping[Role, float], ...]:
    return ({"weight": bandwidth, "cache": FAST, "hidden": FAST},)


@cache
def trained(layers: int, hidden: int, activations: Activations, every: int = 1, changes: Changes = ()) -> Trained:
    """A step of 16 sequences on a GPU with SSDs of its own."""
    on = figures(changes)
    trainer = Trainer(Tier("gpu"), Tier("SSDs"), on["GPU peak"] * on["GPU efficiency"], on["SSDs write"],
                      on["SSDs read"])  # fmt: skip
    return train(gpt(layers, hidden), SSDS_BATCH, SEQUENCE, trainer, activations, every=every)
