"""Steps that no cost can change, worked out once, take the seconds that the served requests take."""

from __future__ import annotations

import pytest

from accelsim.errors import DoesNotFit
from accelsim.serving.llm.arrivals import TraceRequests
from accelsim.serving.llm.at_once import served_at_once, spans_at_once
from accelsim.serving.llm.costs import Overheads, StepCosts
from accelsim.serving.llm.deployment import deploy
from accelsim.serving.llm.run import simulate_serving
from accelsim.serving.llm.scenario import Cache, LlmScenario
from accelsim.serving.llm.state import Policy, Tokens

OVERHEADS = Overheads(2e-6, grouped_attention=0.4)


def scenario(wants: tuple[Tokens, ...], policy: Policy, nbytes: int) -> LlmScenario:
    arrivals = TraceRequests(tuple((0.0, w) for w in wants))
    return LlmScenario("llama-3-8b", "a100_80gb", arrivals, policy=policy, cache=Cache(nbytes=nbytes),
                       overheads=OVERHEADS, checks=0)  # fmt: skip


@pytest.mark.parametrize("reserve", [False, True])
@pytest.mark.parametrize("kind", ["continuous", "chunked"])
@pytest.mark.parametrize("nbytes", [40 << 20, 4 << 30])
def test_seconds_are_those_of_serving(kind: str, reserve: bool, nbytes: int) -> None:
    """With room for all, and with so little that requests wait or lose their blocks."""
    wants = (Tokens(70, 90), Tokens(33, 5), Tokens(64, 64), Tokens(150, 20))
    policy = Policy(kind, 4, 128, reserve=reserve)  # type: ignore[arg-type]
    s = scenario(wants, policy, nbytes)
    result, d = simulate_serving(s), deploy(s)
    cost = StepCosts(d.costs.stages[0].simulate, OVERHEADS).of
    assert served_at_once(wants, policy, d, cost) == pytest.approx(result.seconds, rel=1e-5)
    spans = spans_at_once(wants, policy, d.driver)
    assert sum(span.steps for span in spans) == len(result.steps.end_s)
    assert len(spans) < len(result.steps.end_s) / 2


def test_costs_come_after_the_steps() -> None:
    wants, policy = (Tokens(64, 32),) * 2, Policy()
    d = deploy(scenario(wants, policy, 1 << 30))
    cost = d.costs.of
    slower = StepCosts(d.costs.stages[0].simulate, Overheads(4e-6, grouped_attention=0.4)).of
    assert served_at_once(wants, policy, d, slower) > served_at_once(wants, policy, d, cost)


def test_a_request_without_room_is_told() -> None:
    d = deploy(scenario((Tokens(8, 8),), Policy(batch=1), 16 << 20))
    with pytest.raises(DoesNotFit, match="request 0 of 400"):
        spans_at_once((Tokens(400, 8),), Policy(batch=1), d.driver)
