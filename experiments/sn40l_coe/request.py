"""A batch of prompts on a node, as a Program: routed, and an expert for each switched in and run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...engine.builder import Phase, ProgramBuilder, Run
from ...engine.compiled import run
from ...engine.program import Server
from .node import TICK_HZ, Node, hit_and_miss, misses, popular

EXPERTS = 150


@dataclass(frozen=True)
class Setup:
    """How a batch is served. The defaults are the paper's description, but for `router_tokens`, which it does not give.

    Attributes:
        router_tokens: that the router, an expert in size, writes for a prompt; None: as many as the expert.
        together: the router runs once for a batch, not once for each prompt.
        ahead: an expert is switched in while another one runs, not in between.
        always: every prompt wants an expert that is not there; else any of `EXPERTS`, with those used last there.
        prompt: tokens of every prompt; None: those of the use case.
    """

    router_tokens: int | None = 20
    together: bool = True
    ahead: bool = False
    always: bool = True
    prompt: int | None = None


PUBLISHED = Setup()
VARIANTS: Mapping[str, Setup] = {
    "router writes 1 token": Setup(router_tokens=1),
    "router writes as many as the expert": Setup(router_tokens=None),
    "router runs for each prompt": Setup(together=False),
    "experts switched in ahead": Setup(ahead=True),
    "some experts there already": Setup(always=False),
}
"""Other readings of what is not published, or is and could be otherwise: how much each matters."""


def request_s(at: Node, batch: int, tokens: int, setup: Setup = PUBLISHED) -> float:
    """Seconds until the last of a batch of prompts has its `tokens` tokens, simulated as a Program of three actors."""
    router_tokens = tokens if setup.router_tokens is None else setup.router_tokens
    together = batch if setup.together else 1
    prompt = at.prompt_of(tokens) if setup.prompt is None else setup.prompt
    share = 1.0 if setup.always else miss_share(at, EXPERTS, 0.0)
    b = ProgramBuilder("request", tick_hz=TICK_HZ)
    sockets = b.server(Server("sockets"))
    link = b.server(Server("link")) if setup.ahead else sockets
    route, switch = b.actor("route", server=sockets), b.actor("switch", server=link)
    expert = b.actor("expert", server=sockets)
    named, there = b.fifo(route, switch, depth=batch), b.fifo(switch, expert, depth=batch)
    routing = Phase(work=_ticks(at.run_s(router_tokens, together, prompt)), outputs=((named, together, together),))
    b.schedule(route, [Run(routing, batch // together)])
    one_in = Phase(work=_ticks(share * at.switch_s()), inputs=((named, 1, 1),), outputs=((there, 1, 1),))
    b.schedule(switch, [Run(one_in, batch)])
    b.schedule(expert, [Run(Phase(work=_ticks(at.run_s(tokens, 1, prompt)), inputs=((there, 1, 1),)), batch)])
    return float(run(b.build()).finish / TICK_HZ)


def _ticks(seconds: float) -> int:
    return round(seconds * float(TICK_HZ))


def miss_share(at: Node, experts: int, skew: float, requests: int = 200) -> float:
    """Of requests that come one by one, those whose expert is not there, over the second half of a stream of them, all
    experts having been wanted once before it."""
    wanted = (*range(experts), *popular(experts, requests, skew))
    return float(np.mean(misses(at, wanted, experts)[-requests // 2 :]))


def mean_latency(at: Node, experts: int, skew: float, tokens: int, requests: int = 200) -> float:
    """Seconds of a request of one prompt, on average over such a stream. A hit and a miss are simulated once each."""
    compute = at.run_s(PUBLISHED.router_tokens or tokens) + at.run_s(tokens)
    hit, miss = hit_and_miss(at.upper_bytes, at.link_bandwidth, _ticks(compute))
    return hit + miss_share(at, experts, skew, requests) * (miss - hit)
