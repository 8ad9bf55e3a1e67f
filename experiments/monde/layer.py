"""A block of a mixture-of-experts transformer: dense layers on the GPU, experts at the site of the mapper's choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...arch.architecture import Architecture
from ...ir import Access, Role, Workload, affine
from ...ir.build import WorkloadBuilder
from ...mappers.sites import SiteProblem, Sites, Task, check_room
from ...mappers.sites.ways import STORED

TICK_HZ = 10**12
HOME, HUB, NEAR, GPU = "device", "hbm", "scratchpad", "l2"
ROOM = "room for experts"


@dataclass(frozen=True)
class Model:
    """A model's sizes; `period` layers of which the last one has experts; `blocks` of them in encoder and decoder."""

    name: str
    hidden: int
    wide: int
    heads: int
    experts: int
    active: int
    period: int
    blocks: int


SWITCH = Model("Switch-Large-128", 1024, 4096, 16, 128, 1, 2, 24)
NLLB = Model("NLLB-MoE", 2048, 8192, 16, 128, 2, 4, 12)


@dataclass(frozen=True)
class Load:
    """What is run: `batch` sequences, whose `length` tokens the encoder takes at once and the decoder one by one, after
    so many of its own and with the encoder's to look at; how unevenly experts are chosen (the exponent of a Zipf law).
    """

    batch: int
    decoder: bool
    skew: float = 1.0
    length: int = 512
    seed: int = 0

    @property
    def tokens(self) -> int:
        return self.batch * (1 if self.decoder else self.length)


def routed(model: Model, load: Load) -> tuple[int, ...]:
    """Tokens of each expert that gets any, most first; every token goes to `active` different experts."""
    rng = np.random.default_rng(load.seed)
    popular = np.arange(1, model.experts + 1, dtype=float) ** -load.skew
    # The first of so many keys, exponential with these rates, are a draw without replacement.
    keys = rng.exponential(size=(load.tokens, model.experts)) / popular
    picked = np.argpartition(keys, model.active - 1, axis=1)[:, : model.active]
    counts = np.bincount(picked.ravel(), minlength=model.experts)
    return tuple(sorted((int(n) for n in counts if n), reverse=True))


def block(model: Model, load: Load, tokens: Sequence[int], *, dense: bool = True) -> Workload:
    """The Workload; the name of an Einsum begins with that of its task: `dense`, `expert0`, `expert1` ..."""
    b = WorkloadBuilder(f"{model.name} block")
    x = b.input("x", (load.tokens, model.hidden))
    for i in range(model.period if dense else 0):
        x = _attention(b, model, load, x, f"dense.attention{i}")
        if load.decoder:
            x = _attention(b, model, load, x, f"dense.cross{i}", crossed=True)
        if i < model.period - 1:
            x = _feed_forward(b, model, x, f"dense.mlp{i}")
    scores = b.linear(x, b.weight("router", (model.experts, model.hidden)), name="dense.route")
    b.softmax(scores, name="dense.route")
    for e, n in enumerate(tokens):
        _feed_forward(b, model, b.input(f"x{e}", (n, model.hidden)), f"expert{e}.mlp")
    return b.build()


def _attention(b: WorkloadBuilder, model: Model, load: Load, x: str, name: str, *, crossed: bool = False) -> str:
    """Projections, scores, softmax, weighted sum: of all tokens for each other or, in a decoder, for those of a cache,
    which is its own and gets the new keys and values, or the encoder's (`crossed`)."""
    h, batch = model.hidden, load.batch
    queries, width = load.tokens // batch, h // model.heads
    made = [b.linear(x, b.weight(f"{name}.w{p}", (h, h)), name=f"{name}.{p}") for p in ("q" if crossed else "qkv")]
    shape = (batch, queries, model.heads, width)
    q = b.view(made[0], shape)
    if load.decoder:
        k, v = (b.state(f"{name}.{p}_cache", (batch, load.length, model.heads, width)) for p in "kv")
    else:
        k, v = (b.view(t, shape) for t in made[1:])
    sizes = {"b": batch, "h": model.heads, "t": queries, "s": load.length, "d": width}
    ranks = {q: "bthd", k: "bshd", v: "bshd"}
    reads = {t: Access(t, tuple(map(affine, r))) for t, r in ranks.items()}
    s = b.compute("mul", [reads[q], reads[k]], list("bhts"), sizes, reduce="add", name=f"{name}.scores")
    p = b.softmax(s, name=f"{name}.softmax")
    weigh = Access(p, tuple(map(affine, "bhts")))
    z = b.compute("mul", [weigh, reads[v]], list("bthd"), sizes, reduce="add", name=f"{name}.weigh")
    return b.linear(b.view(z, (load.tokens, h)), b.weight(f"{name}.wo", (h, h)), name=f"{name}.out")


def _feed_forward(b: WorkloadBuilder, model: Model, x: str, name: str) -> str:
    up = b.linear(x, b.weight(f"{name}.up", (model.wide, model.hidden)), name=f"{name}.rise")
    down = b.weight(f"{name}.down", (model.hidden, model.wide))
    return b.linear(b.relu(up, name=f"{name}.relu"), down, name=f"{name}.fall")


def problem(
    arch: Architecture, model: Model, load: Load, *, dense: bool = True, offloaded: bool = False,
    tokens: Sequence[int] | None = None,
) -> SiteProblem:
    """The block on the machine: the dense layers on the GPU, then every expert where it may run.

    Args:
        dense: with the layers before the experts; else the router and the experts alone.
        offloaded: all experts move to the GPU.
        tokens: of each expert; drawn unless given.
    """
    dealt = routed(model, load) if tokens is None else tuple(tokens)
    workload = block(model, load, dealt, dense=dense)
    homes = {n: HOME for n, t in workload.tensors.items() if t.role is Role.WEIGHT and n.startswith("expert")}
    experts = 2 * model.hidden * model.wide * 2 * model.experts * model.blocks
    rest = sum(t.nbytes for n, t in workload.tensors.items() if t.role in STORED and n not in homes) * model.blocks
    check_room(arch, {HOME: experts, HUB: rest})
    sites = Sites(arch, workload, HUB, homes, {HUB: ROOM})
    groups: dict[str, list[str]] = {}
    for name in sites.einsums:
        groups.setdefault(name.partition(".")[0], []).append(name)
    tasks = [Task("dense", sites.ways(groups.pop("dense"), (GPU,)))]
    where = (GPU,) if offloaded else (GPU, NEAR)
    tasks += [Task(n, sites.ways(e, where, ahead=False), ("dense",)) for n, e in groups.items()]
    free = arch.memories[HUB].capacity - rest
    return SiteProblem(workload.name, TICK_HZ, sites.servers(TICK_HZ), tuple(tasks), {ROOM: free})
