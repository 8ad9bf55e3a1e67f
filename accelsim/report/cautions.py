"""What a reader must know of a run: where a claim or the model itself falls short."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping as MappingABC
from fractions import Fraction

from ..arch.architecture import Architecture
from ..arch.component import CONFLICT, Direction
from ..engine.labels import Action
from ..engine.trace import Trace
from ..ir import Repeat, Role, Workload, count_operations
from ..mapping.tree import Mapping

TOLERANCE = 0.1
"""Share of the latency by which a mapper's expectation may miss it without a word."""
WORTH_TELLING = 0.1
"""Share of the bytes off the chip, or of the time, from which on running operators together may matter."""
_DIRECTIONS: tuple[Direction, Direction] = ("read", "write")


def cautions(
    arch: Architecture, workload: Workload, mapping: Mapping, trace: Trace, macs: MappingABC[str, int]
) -> list[str]:
    """All that a reader must know of any run.

    Args:
        arch: the machine.
        workload: what ran.
        mapping: how.
        trace: of the run.
        macs: multiply-accumulates that the Mapping does, by Einsum.
    """
    return [
        *cut_short(mapping),
        *missed_claim(arch, mapping, trace),
        *crowded_ports(arch, trace),
        *bank_waits(trace),
        *unmade(workload, macs),
        *idle_components(arch, mapping, trace),
    ]


def moved_bytes(trace: Trace) -> dict[tuple[str, str], int]:
    """Bytes that transfers between memories read and write, by (memory, direction), and by (link, ``transfer``)."""
    found: dict[tuple[str, str], int] = defaultdict(int)
    for action, count in zip(trace.program.actions, trace.action_counts().tolist(), strict=True):
        # A unit's own network has transfers too; they are of no tensor.
        if isinstance(action, Action) and (action.peer or (action.action == "transfer" and action.tensor)):
            found[action.component, action.action] += count
    return {key: count for key, count in found.items() if count}


def missed_claim(arch: Architecture, mapping: Mapping, trace: Trace) -> list[str]:
    """A claim of latency that the run does not bear out to within TOLERANCE."""
    claim = mapping.claim
    if claim is None or claim.objective != "latency" or not trace.finish:
        return []
    cycles = float(trace.finish * Fraction(arch.clock) / trace.program.tick_hz)
    off = claim.value / cycles - 1
    if abs(off) <= TOLERANCE:
        return []
    return [f"the mapper expected {claim.value:,.0f} cycles, {off:+.0%} of what the run took"]


def cut_short(mapping: Mapping) -> list[str]:
    """A search that its mapper did not finish."""
    if mapping.claim is None or mapping.claim.complete:
        return []
    claim = mapping.claim
    gap = f", gap {claim.gap:.1%} to its bound" if claim.gap is not None and claim.gap > 0 else ""
    return [f"the mapper stopped its search early{gap}: there may be better mappings among those that it looks at"]


def crowded_ports(arch: Architecture, trace: Trace) -> list[str]:
    """Memory ports that units and transfers together ask for more than they can move in the time of the run.

    A unit is slowed by the bandwidth of its memory, but does not contend for it with transfers and other units.
    """
    asked: dict[tuple[str, str], int] = defaultdict(int)
    for action, count in zip(trace.program.actions, trace.action_counts().tolist(), strict=True):
        if isinstance(action, Action) and action.action in _DIRECTIONS:
            asked[action.component, action.action] += count
    seconds = trace.finish / trace.program.tick_hz
    found: list[str] = []
    for memory in arch.memories.values():
        ports: dict[str, tuple[float, int]] = {}
        for direction in _DIRECTIONS:
            port = memory.port(direction)
            if port is not None and port[1] != float("inf"):
                name, rate = port
                ports[name] = rate, ports.get(name, (rate, 0))[1] + asked[memory.name, direction]
        for name, (rate, nbytes) in sorted(ports.items()):
            share = nbytes / (Fraction(rate) * seconds) if seconds else Fraction(0)
            if share > 1:
                found.append(
                    f"port {name}: units and transfers move {float(share):.2f} times what it can in this time; each is "
                    "simulated as if it had the port to itself"
                )
    return found


def bank_waits(trace: Trace) -> list[str]:
    """Units that wait for banks of the memories that feed them."""
    counts = zip(trace.program.actions, trace.action_counts().tolist(), strict=True)
    waited: dict[str, int] = defaultdict(int)
    for action, count in counts:
        if isinstance(action, Action) and action.action == CONFLICT and count:
            waited[action.component] += count
    worked = dict(zip((s.name for s in trace.program.platform.servers), trace.server_work.tolist(), strict=True))
    return [
        f"{unit} waits for banks of its memory in {cycles:,} of {worked[unit]:,} cycles of its work"
        for unit, cycles in sorted(waited.items())
    ]


def unmade(workload: Workload, macs: MappingABC[str, int]) -> list[str]:
    """Einsums of which a Mapping leaves out what nothing reads, so that they do fewer MACs than the report counts.

    Args:
        workload: what is computed.
        macs: that the Mapping has done, by Einsum.
    """
    found = []
    for einsum, times in workload.einsums():
        whole = count_operations(einsum).macs * times
        if macs.get(einsum.name, whole) < whole:
            done = f"{einsum.name} does {macs[einsum.name]:,} of its {whole:,} MACs"
            found.append(f"{done}: nothing reads what the others make")
    return found


def one_by_one(arch: Architecture, workload: Workload, trace: Trace) -> list[str]:
    """What running one operator after the other may cost, where the mapper that does so was not chosen by the user.

    That is what operators hand on to others off the chip, and the time in which the busiest component idles: at most so
    much of bytes and time can a mapper save that runs operators together. The time counts where two units or more are
    in service, for one does not overlap with itself.
    """
    outside = {m.name for m in arch.off_chip}
    handed_on = _handed_on(workload)
    moved: dict[bool, int] = {False: 0, True: 0}
    for action, count in zip(trace.program.actions, trace.action_counts().tolist(), strict=True):
        if isinstance(action, Action) and action.component in outside and action.action in _DIRECTIONS:
            moved[action.tensor in handed_on] += count
    share = moved[True] / sum(moved.values()) if moved[True] else 0.0
    busy = dict(zip((s.name for s in trace.program.platform.servers), trace.server_busy.tolist(), strict=True))
    working = sum(any(ticks for name, ticks in busy.items() if name.split("/")[0] == unit) for unit in arch.units)
    idle = 1 - max(busy.values(), default=0) / trace.finish if trace.finish and working > 1 else 0.0
    costs = [f"what they hand on is {share:.0%} of the bytes off the chip"] if share >= WORTH_TELLING else []
    costs += [f"the busiest component idles for {idle:.0%} of the time"] if idle >= WORTH_TELLING else []
    if not costs:
        return []
    return [
        f"mapper auto took tile, which runs one operator after the other: {' and '.join(costs)}; mapper cascade, which "
        "searches longer, runs operators together and may do better"
    ]


def _handed_on(workload: Workload) -> set[str]:
    """Stored tensors that operators hand on, but for those that pass from one iteration of a Repeat to the next."""
    found = {name for name, tensor in workload.tensors.items() if tensor.role is Role.ACTIVATION}
    stack = list(workload.body)
    while stack:
        item = stack.pop()
        if isinstance(item, Repeat):
            found -= {workload.storage(name) for pair in item.carried for name in pair}
            stack += item.body
    return found


def idle_components(arch: Architecture, mapping: Mapping, trace: Trace) -> list[str]:
    """Memories and units of the machine that the run never touched, and in which nothing stays."""
    counts = trace.action_counts().tolist()
    used = {a.component for a, n in zip(trace.program.actions, counts, strict=True) if isinstance(a, Action) and n}
    worked = zip(trace.program.platform.servers, trace.server_work.tolist(), strict=True)
    used |= {server.name for server, work in worked if work} | {stay.memory for stay in mapping.stays}
    return [f"{name} is not used by this mapping" for name in (*arch.memories, *arch.units) if name not in used]
