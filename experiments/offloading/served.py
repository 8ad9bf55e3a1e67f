"""The machine and the models of FlexGen's measurements, and what a policy gives on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from ...mappers.offload import Block, Generation, Machine, Model, Policy, Rates, generate, model_of, solve
from ...mappers.offload.machine import ROLES, Role
from ...mapping.tiers.problem import Tier
from ...workloads.huggingface import load_config
from ...workloads.transformer import Bits, Transformer, build
from ...workloads.transforms import GroupBits, quantised
from ...workloads.zoo import load
from ..loader import data_path, table

BITS = Bits(16, 16, 16)
UNITS = {"GiB": 2**30, "GiB/s": 2**30, "TFLOP/s": 10**12, "fraction": 1}
GPU, CPU, DISK = "gpu", "cpu", "disk"
Changes = tuple[tuple[str, float], ...]
"""Names of the machine's table, and factors on their figures."""


@dataclass(frozen=True)
class Options:
    """Attributes:
        usable: share of memories that the planner may use; None for the table's.
        ahead: weights of the next layer come while one is decoded, as the block schedule has it; without, before it
            begins, as the cost model has it whose rates the table holds.
        streams: caches and hidden states pass while batches compute, and weights of the next layer come meanwhile in a
            prefill; without, one after the other.
        changes: of the table.
    """

    usable: float | None = None
    ahead: bool = False
    streams: bool = True
    changes: Changes = ()


@cache
def machine(options: Options = Options()) -> Machine:
    """GPU, host and disk of the measurements."""
    factors = dict(options.changes)
    found: dict[tuple[str, str], float] = {}
    for row in table(__package__ or "", "machine.csv"):
        for phase in ("prefill", "decode") if row["phase"] == "both" else (row["phase"],):
            found[row["name"], phase] = float(row["value"]) * UNITS[row["unit"]] * factors.get(row["name"], 1.0)
    usable = found["usable", ""] if options.usable is None else options.usable
    sizes = {GPU: "gpu_memory", CPU: "cpu_memory", DISK: "disk"}
    tiers = tuple(Tier(t, int(usable * found[n, ""])) for t, n in sizes.items())
    prefill = _rates(found, "prefill", ahead=options.streams, streams=options.streams, hops=False)
    decode = _rates(found, "decode", ahead=options.ahead, streams=options.streams, hops=True)
    return Machine("T4 beside 208 GB and an SSD", tiers, prefill, decode)


def _rates(found: Mapping[tuple[str, str], float], phase: str, *, ahead: bool, streams: bool, hops: bool) -> Rates:
    def by_role(way: str) -> dict[Role, float]:
        rates: dict[Role, float] = {}
        for role in ROLES:
            named = found.get((f"{way}, {role}", phase), found.get((way, phase)))
            rates[role] = found[f"{way}, hidden", phase] if named is None else named  # no weights go outward
        return rates

    return Rates(
        inward=(by_role(f"{CPU} to {GPU}"), by_role(f"{DISK} to {CPU}")),
        outward=(by_role(f"{GPU} to {CPU}"), by_role(f"{CPU} to {DISK}")),
        products=found["products", phase],
        attention=found["attention on the GPU", phase],
        local=found["bandwidth of the GPU's memory", phase],
        beside=found.get(("attention on the CPU", phase)),
        beside_loss=found.get(("loss of attention on the CPU", phase), 0.0),
        beside_full=64,
        ahead=ahead,
        streams=streams,
        hops=hops,
    )


@cache
def transformer(name: str) -> Transformer:
    """A model of the zoo, or OPT-175B."""
    if name == "opt-175b":
        return load_config(data_path(__package__ or "", "opt_175b.json"), name=name).spec
    return load_config(load(name), name=name).spec


@cache
def model(name: str, prompt: int = 512, *, narrow: bool = False) -> Model:
    """Its parts, in 16 bits; attention of a prompt is computed in full, masked or not.

    `narrow`: weights and caches in groups of 64 elements of 4 bits, with two numbers of 16 bits each.
    """
    spec = transformer(name)
    prefill = build(spec, "prefill", 1, prompt, prompt, "last", BITS)
    decode = build(spec, "decode", 1, 1, prompt, "last", BITS)
    if narrow:
        bits = {"weight": GroupBits(4, 32, 64), "state": GroupBits(4, 32, 64)}
        prefill, decode = quantised(prefill, bits), quantised(decode, bits)
    return model_of(prefill, decode, prompt, spec.hidden * BITS.activation // 8)


def planned(name: str, block: Block, options: Options = Options(), *, beside: bool = True,
            given: Mapping[Role, tuple[float, ...]] | None = None) -> Policy:  # fmt: skip
    """The linear program's policy."""
    return solve(machine(options), model(name, block.prompt), block, beside=beside, given=given)


def ran(name: str, block: Block, policy: Policy, options: Options = Options(), *, sampled: int = 3) -> Generation:
    """What simulating a policy gives; `sampled` passes of the decode are."""
    return generate(machine(options), model(name, block.prompt), block, policy, sampled=sampled)
