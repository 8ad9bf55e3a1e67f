"""A decoder's layer with its KV cache on flash: attention where the mapper puts it, dense or of chosen tokens."""

from __future__ import annotations

from dataclasses import dataclass

from ...arch.architecture import Architecture
from ...ir import Access, Read, Role, Workload, affine
from ...ir.build import WorkloadBuilder
from ...mappers.sites import SiteProblem, Sites, Task, check_room

TICK_HZ = 10**12
FLASH, HUB, GPU = "flash", "hbm", "l2"


@dataclass(frozen=True)
class Model:
    """A decoder's sizes; those of OPT-13B by default (Zhang et al., arXiv:2205.01068, table 1)."""

    layers: int = 40
    hidden: int = 5120
    heads: int = 40
    vocabulary: int = 50272

    @property
    def wide(self) -> int:
        return 4 * self.hidden

    @property
    def weight_bytes(self) -> int:
        return 2 * (self.layers * 12 * self.hidden**2 + self.vocabulary * self.hidden)


OPT_13B = Model()


@dataclass(frozen=True)
class Load:
    """A step of a decode.

    Attributes:
        batch: sequences.
        context: tokens of each in its cache; `reserved` is room for so many.
        sparsity: attention reads 1 of so many tokens, and 1 of so many channels of all keys to find them; 1 is dense.
        chunk: tokens of a head that are chosen together; chosen chunks are any of all, so that pages which hold more of
            them hold some that are not wanted.
    """

    batch: int
    context: int = 1536
    reserved: int = 2048
    sparsity: int = 1
    chunk: int = 16


def layer(model: Model, load: Load) -> Workload:
    """One layer; the name of an Einsum begins with that of its task: `project`, `guess`, `attention`, `rest`."""
    b = WorkloadBuilder("decode layer")
    h, width = model.hidden, model.hidden // model.heads
    x = b.input("x", (load.batch, h))
    made = {p: b.linear(x, b.weight(f"w{p}", (h, h)), name=f"project.{p}", out=f"{p}_new") for p in "qkv"}
    q = b.view(made["q"], (load.batch, model.heads, width))
    if load.sparsity > 1:
        few = width // load.sparsity
        some = b.compute(Read(0), [_at(q, "bhd")], list("bhd"),
                         {"b": load.batch, "h": model.heads, "d": few}, name="guess.channels")  # fmt: skip
        keys = b.state("k_channels", (load.batch, load.context, model.heads, few))
        scores = _scores(b, model, load.batch, some, keys, "guess.scores")
        b.reduce(scores, "max", -1, name="guess.pick")
    tokens = load.context // load.sparsity
    caches = [b.state(f"{p}_cache", (load.batch, tokens, model.heads, width)) for p in "kv"]
    scores = b.softmax(_scores(b, model, load.batch, q, caches[0], "attention.scores"), name="attention.softmax")
    sizes = {"b": load.batch, "h": model.heads, "s": tokens, "d": width}
    z = b.compute("mul", [_at(scores, "bhs"), _at(caches[1], "bshd")], list("bhd"), sizes, reduce="add",
                  name="attention.weigh")  # fmt: skip
    y = b.linear(b.view(z, (load.batch, h)), b.weight("wo", (h, h)), name="rest.out")
    up = b.relu(b.linear(y, b.weight("up", (model.wide, h)), name="rest.up"), name="rest.relu")
    b.linear(up, b.weight("down", (h, model.wide)), name="rest.down")
    return b.build()


def _at(tensor: str, ranks: str) -> Access:
    return Access(tensor, tuple(map(affine, ranks)))


def _scores(b: WorkloadBuilder, model: Model, batch: int, q: str, keys: str, name: str) -> str:
    sizes = {"b": batch, "h": model.heads, "s": b.shape(keys)[1], "d": b.shape(keys)[3]}
    return b.compute("mul", [_at(q, "bhd"), _at(keys, "bshd")], list("bhs"), sizes, reduce="add", name=name)


def problem(arch: Architecture, model: Model, load: Load) -> SiteProblem:
    """All layers of a step, one after the other, on a machine whose `flash` holds the caches and `hbm` all weights.

    Raises:
        DoesNotFit: caches are more than flash reserves, weights more than the GPU holds.
    """
    workload = layer(model, load)
    caches = 2 * load.batch * load.reserved * model.hidden * 2 * model.layers
    if load.sparsity > 1:
        caches += caches // 2  # keys lie there twice: by token, and by channel
    check_room(arch, {HUB: model.weight_bytes}, {FLASH: caches})
    homes = {n: FLASH for n, t in workload.tensors.items() if t.role is Role.STATE} | {"k_new": FLASH, "v_new": FLASH}
    width = 2 * model.hidden // model.heads
    chunks = dict.fromkeys((n for n in homes if n.endswith("_cache")), load.chunk * width) if load.sparsity > 1 else {}
    rooms = {m: arch.memories[m].capacity for m in arch.memories if m in (HUB, "host")}
    rooms[HUB] -= model.weight_bytes
    shares = dict.fromkeys(chunks, 1 / load.sparsity)
    sites = Sites(arch, workload, HUB, homes, {m: m for m in rooms}, chunks, shares)
    groups: dict[str, list[str]] = {}
    for name in sites.einsums:
        groups.setdefault(name.partition(".")[0], []).append(name)
    tasks: list[Task] = []
    before: tuple[str, ...] = ()
    for name, einsums in groups.items():
        only = () if name in ("guess", "attention") else (GPU,)
        ahead = name != "attention" or load.sparsity == 1  # which tokens to read, the guess says
        tasks.append(Task(name, sites.ways(einsums, only, ahead=ahead), before))
        before = (name,)
    return SiteProblem(workload.name, TICK_HZ, sites.servers(TICK_HZ), tuple(tasks), rooms, model.layers)
