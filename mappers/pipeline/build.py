"""From stages to a stream graph: how fast each stage fires, and how deep its streams are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from ...engine.program import UNBOUNDED
from ...lowering.streams import GraphBuilder, StreamGraph
from .stages import Link, Stage, Stages


@dataclass(frozen=True)
class Timing:
    """Cycles of stages and streams; names not in a mapping take the plain number.

    Attributes:
        latency: from the start of a firing until its tokens are visible, of all stages.
        latencies: of single stages.
        ii: initiation interval of all stages; None: what the lanes of a stage make it, 1 where it has as many as it
            can use.
        iis: of single stages.
        recurrence: cycles from one step of a recurrence to the next. A scan fires no faster; firings for other points
            between two steps hide it.
        credit_latency: cycles until a slot can be filled again.
        cycle_hz: the clock.
    """

    latency: int = 1
    latencies: Mapping[str, int] = field(default_factory=dict)
    ii: int | None = None
    iis: Mapping[str, int] = field(default_factory=dict)
    recurrence: int = 1
    credit_latency: int = 1
    cycle_hz: Fraction = Fraction(1_000_000_000)

    def latency_of(self, stage: str) -> int:
        return self.latencies.get(stage, self.latency)

    def ii_of(self, stage: Stage, lanes: int | None) -> int:
        """The interval of a stage with so many lanes, each of which does one point of the firing per cycle."""
        if stage.name in self.iis:
            return self.iis[stage.name]
        least = -(-self.recurrence // stage.steps_apart) if stage.steps_apart else 1
        if self.ii is not None:
            return max(least, self.ii)
        return least if lanes is None else max(least, -(-stage.inner // lanes))


def stream_graph(
    stages: Stages, *, timing: Timing | None = None, lanes: Mapping[str, int] | None = None,
    depths: Mapping[str, int] | int = UNBOUNDED, name: str = "",
) -> StreamGraph:
    """The stream graph of stages: one node each, and a sink for every result.

    Args:
        stages: see `build_stages`.
        timing: default: one cycle for everything.
        lanes: of every stage by name; None: as many as it can use.
        depths: of all streams, or by name of the stream (``SN -> SD``); those not named have no bound.
        name: of the graph; default: that of the cascade.
    """
    timing = timing or Timing()
    g = GraphBuilder(name or stages.workload.name, cycle_hz=timing.cycle_hz)
    for s in stages.stages:
        own = None if lanes is None else lanes[s.name]
        g.node(s.name, s.kind, latency=timing.latency_of(s.name), ii=timing.ii_of(s, own), firings=s.firings)
    for link in stages.links:
        if not link.dst:
            g.node(sink_name(link), "sink", latency=1)
    for link in stages.links:
        dst = link.dst or sink_name(link)
        label = link_name(stages, link)
        depth = depths if isinstance(depths, int) else depths.get(label, UNBOUNDED)
        g.stream(link.src, dst, depth=depth, put=link.put, take=link.take, bits=link.bits, name=label,
                 credit_latency=timing.credit_latency)
    return g.build()


def sink_name(link: Link) -> str:
    """The node that a result of the pipeline ends in."""
    return f"{link.tensor} out"


def link_name(stages: Stages, link: Link) -> str:
    """The stream of a link: ``src -> dst``, with its tensor where there are several between the two."""
    dst = link.dst or sink_name(link)
    alike = [x for x in stages.links if (x.src, x.dst) == (link.src, link.dst)]
    return f"{link.src} -> {dst}" + (f" ({link.tensor})" if len(alike) > 1 else "")
