"""Running a Scenario of LLM serving, from the names in it to the result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ...errors import ProgramError
from ...workloads.huggingface import load_config
from ...workloads.transformer import Transformer
from ..driver import Request
from ..loop import Completion, completions
from ..scenario import Listed, Scenario
from .arrivals import TICK_HZ, TraceRequests
from .deployment import Deployment, deploy
from .faults import ScenarioError, located
from .result import Check, Requests, ServingResult, Steps
from .scenario import LlmScenario
from .staged import StagedCosts
from .state import Move, Shape, Step, Tokens


def simulate_serving(s: LlmScenario) -> ServingResult:
    """Serve all requests of a scenario.

    Raises:
        BadInput: a name or number in it is wrong, or the parallel degree does not divide the model; where it was read
            from a file, with its line there.
        DoesNotFit: weights, a batch or a request find no room; the message has the tier and the bytes.
    """
    with located(s.places):
        requests = s.arrivals.requests(s.seed)
        d = deploy(s)
        _positions(d.model, requests)
        if s.speculative is not None:
            _positions(load_config(s.speculative.model).spec, requests)
        arrivals = Listed(tuple((r.arrival, r.wants) for r in requests))
        done = list(completions(d.driver, Scenario(arrivals, s.policy, s.seed), d.session))
        return _result(s, requests, done, d)


def _positions(model: Transformer, requests: Sequence[Request]) -> None:
    """Raise BadInput for a request beyond the learned positions of the model."""
    for r in requests:
        assert isinstance(r.wants, Tokens)
        if model.positions is not None and sum(r.wants) > model.positions:
            tokens = f"{r.wants.prompt} + {r.wants.output} tokens"
            raise ScenarioError("arrivals", f"request {r.id}: {tokens} exceed the {model.positions} learned positions "
                                f"of {model.name}")  # fmt: skip


def _result(
    s: LlmScenario, requests: Sequence[Request], done: Sequence[Completion], d: Deployment
) -> ServingResult:
    first, last, count = (np.zeros(len(requests), np.int64) for _ in range(3))
    steps = [(c.tick, c.submission) for c in done if isinstance(c.submission, Step)]
    begun = np.array([c.ready for c in done if isinstance(c.submission, Step)])
    for tick, step in steps:
        for request in step.emits:
            if not count[request]:
                first[request] = tick
            last[request] = tick
            count[request] += 1
    wants = [r.wants for r in requests if isinstance(r.wants, Tokens)]
    outputs = np.array([w.output for w in wants])
    if (count != outputs).any():
        raise ProgramError(f"request {int(np.flatnonzero(count != outputs)[0])} did not get its tokens")
    per_s = float(TICK_HZ)
    moves = [c.submission for c in done if isinstance(c.submission, Move)]
    swapped = sum(m.blocks for m in moves) * d.driver.block_bytes
    found = Counter(m.way for m in moves)
    shapes = [step.shape for _, step in steps]
    return ServingResult(
        s,
        Requests(np.array([r.arrival for r in requests]) / per_s, first / per_s, last / per_s,
                 np.array([w.prompt for w in wants]), outputs),
        Steps(begun / per_s, np.array([tick for tick, _ in steps]) / per_s,
              np.array([x.replica for _, x in steps]), np.array([x.tokens for x in shapes]),
              np.array([x.decodes for x in shapes]), np.array([x.blocks_in_use for _, x in steps]),
              np.array([x.waiting for _, x in steps])),
        d.placement, d.driver.blocks, sum(d.costs.of(x).joules for x in shapes),
        {"swap": found["out"], "recompute": _recomputed(steps)}, swapped, d.costs.known,
        _checks(s, shapes, d.costs),
        s.arrivals.problems if isinstance(s.arrivals, TraceRequests) else (),
    )  # fmt: skip


def _recomputed(steps: Sequence[tuple[int, Step]]) -> int:
    """How often a prompt was begun anew."""
    begun = Counter(c.request for _, step in steps for c in step.chunks if c.past == 0)
    return sum(n - 1 for n in begun.values())


MOST_CHUNKS = 4
"""Of a step that is checked."""


def _checks(s: LlmScenario, shapes: Sequence[Shape], costs: StagedCosts) -> tuple[Check, ...]:
    """Steps drawn at random among those of few chunks, simulated at their own sizes."""
    some = [shape for shape in shapes if len(shape.chunks) <= MOST_CHUNKS] or shapes
    drawn = np.random.default_rng(s.seed).choice(len(some), min(s.checks, len(some)), replace=False)
    found = []
    for shape in (some[i] for i in sorted(drawn)):
        text = f"{shape.decodes} decodes of {shape.decode_context / max(1, shape.decodes):.0f} tokens"
        text += "".join(f", {tokens} after {past}" for tokens, past in shape.chunks[:MOST_CHUNKS])
        found.append(Check(text, costs.of(shape).seconds, costs.exact(shape).seconds))
    return tuple(found)
