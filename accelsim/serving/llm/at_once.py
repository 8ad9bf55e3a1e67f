"""Requests that all come at once on one replica: no cost can change the order of their steps, so costs come after."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple

from ..loop import completions
from ..scenario import Listed, Scenario
from ..spans import SpanSession
from .arrivals import TICK_HZ
from .batching import Batching
from .blocks import Blocks
from .costs import NOTHING, PAST_KNOTS, StepCost
from .deployment import Deployment
from .programs import Programs
from .state import Policy, Shape, Step, Tokens


class Span(NamedTuple):
    """Steps in a row: decodes of the same sequences, whose contexts grow by a token each and stay between two knots of
    `StepCosts`; or a single step of any kind."""

    first: Shape
    last: Shape
    steps: int


def spans_at_once(wants: tuple[Tokens, ...], policy: Policy, driver: Batching) -> tuple[Span, ...]:
    """Steps of requests that come at the same time, as the Driver of a deployment decides them.

    Nothing arrives later, and one replica that swaps no blocks does one step at a time, so that no decision depends on
    what a step costs: one run of the Driver does for all machines and models that have room for the same requests.

    Raises:
        BadInput, DoesNotFit: see `Batching`.
    """
    # More room than all requests take together changes no decision, and all who have it share the run.
    enough = max(policy.batch, sum(Blocks(1, driver.block_tokens).needed(sum(w)) for w in wants))
    if driver.blocks >= enough:
        return _spans(wants, policy, enough, driver.block_tokens)
    return _spans(wants, policy, driver.blocks, driver.block_tokens, driver.block_bytes, driver.tier)


@lru_cache(maxsize=256)
def _spans(
    wants: tuple[Tokens, ...], policy: Policy, blocks: int, block_tokens: int, block_bytes: int = 0, tier: str = ""
) -> tuple[Span, ...]:
    programs = Programs(lambda shape: NOTHING, 1, 1.0, None, 1)
    driver = Batching(programs.step, programs.move, 1, blocks, block_tokens, block_bytes, 0, tier)
    scenario = Scenario(Listed(tuple((0, w) for w in wants)), policy)
    done = completions(driver, scenario, SpanSession(programs.platform, TICK_HZ))
    return tuple(_joined(c.submission.shape for c in done if isinstance(c.submission, Step)))


def _joined(shapes: Iterable[Shape]) -> list[Span]:
    found: list[Span] = []
    for shape in shapes:
        if found and _follows(found[-1].last, shape):
            found[-1] = Span(found[-1].first, shape, found[-1].steps + 1)
        else:
            found.append(Span(shape, shape, 1))
    return found


def _follows(before: Shape, shape: Shape) -> bool:
    grown = before._replace(decode_context=before.decode_context + before.decodes)
    return bool(shape.decodes) and not shape.chunks and shape == grown and _knot(before) == _knot(shape)


def _knot(shape: Shape) -> int:
    return bisect_left(PAST_KNOTS, shape.decode_context / shape.decodes - 1)


def seconds_at_once(spans: Iterable[Span], cost: Callable[[Shape], StepCost]) -> float:
    """Seconds from the arrival to the last token, steps rounded to no tick.

    Costs are linear in the context between knots, so that steps of a span take as long on average as its ends do.
    """
    return sum(s.steps * (cost(s.first).seconds + cost(s.last).seconds) / 2 for s in spans)


def served_at_once(
    wants: tuple[Tokens, ...], policy: Policy, d: Deployment, cost: Callable[[Shape], StepCost]
) -> float:
    """Seconds of requests that come at the same time on one replica of a deployment, at `cost` for a step."""
    return seconds_at_once(spans_at_once(wants, policy, d.driver), cost)
