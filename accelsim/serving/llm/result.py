"""What became of the requests of an LLM scenario: latencies, throughput, cache, preemptions, energy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import Problem
from .placement import Placement
from .scenario import LlmScenario

Floats = NDArray[np.float64]
PERCENTILES = (50, 95, 99)


@dataclass(frozen=True, eq=False)
class Requests:
    """By request in order of arrival, in seconds: [n] each."""

    arrival_s: Floats
    first_token_s: Floats
    finish_s: Floats
    prompt_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]

    @property
    def ttft_s(self) -> Floats:
        """From arrival to the first token."""
        return self.first_token_s - self.arrival_s

    @property
    def tpot_s(self) -> Floats:
        """Per token after the first; 0 where there is no other."""
        return (self.finish_s - self.first_token_s) / np.maximum(self.output_tokens - 1, 1)


@dataclass(frozen=True, eq=False)
class Steps:
    """By step in order of completion: [n] each."""

    begin_s: Floats
    """When the step could begin: in a pipeline its batch may have waited for the first stage."""
    end_s: Floats
    replica: NDArray[np.int64]
    tokens: NDArray[np.int64]
    decodes: NDArray[np.int64]
    blocks_in_use: NDArray[np.int64]
    waiting: NDArray[np.int64]


@dataclass(frozen=True)
class Check:
    """A step simulated at its own sizes, beside its interpolated cost."""

    shape: str
    interpolated_s: float
    simulated_s: float

    @property
    def error(self) -> float:
        return self.interpolated_s / self.simulated_s - 1


@dataclass(frozen=True, eq=False)
class ServingResult:
    """A value: nothing in it is computed later.

    Attributes:
        scenario: what was run.
        requests: by request.
        steps: by step.
        placement: of weights and blocks on a socket.
        blocks: of each batch: of a replica, or of one of the batches in its pipeline.
        energy_J: of all steps; moves between tiers have none.
        preemptions: how often blocks were dropped (``recompute``) and moved out (``swap``).
        swapped_bytes: moved out of and into the upper tier.
        fragments: simulated for the costs.
        checks: steps simulated at their own sizes.
        problems: rows of the trace that were left out.
    """

    scenario: LlmScenario
    requests: Requests
    steps: Steps
    placement: Placement
    blocks: int
    energy_J: float  # noqa: N815
    preemptions: dict[str, int]
    swapped_bytes: int
    fragments: int
    checks: Sequence[Check]
    problems: Sequence[Problem] = ()

    @property
    def seconds(self) -> float:
        """From the first arrival to the last token."""
        return float(self.requests.finish_s.max() - self.requests.arrival_s.min())

    @property
    def output_tokens(self) -> int:
        return int(self.requests.output_tokens.sum())

    @property
    def attainment(self) -> float:
        """Share of the requests within both objectives."""
        limits, r = self.scenario.objectives, self.requests
        good = np.ones(len(r.arrival_s), bool)
        for limit, values in ((limits.ttft_s, r.ttft_s), (limits.tpot_s, r.tpot_s)):
            if limit is not None:
                good &= values <= limit
        return float(good.mean())

    @property
    def occupancy(self) -> tuple[float, float]:
        """Share of all replicas' blocks in use: mean over `seconds`, and peak of one replica. Between steps, while a
        replica waits for requests or for blocks that move, none count."""
        s = self.steps
        used = float((s.blocks_in_use * (s.end_s - s.begin_s)).sum())  # block seconds
        mean = used / (self.seconds * self.blocks * self.scenario.parallel.batches)
        return mean, float(s.blocks_in_use.max(initial=0) / self.blocks)

    def to_json(self) -> dict[str, Any]:
        """Plain values; the contract of ``accelsim serve --json``."""
        r, s, cache, mean_peak = self.requests, self.scenario, self.scenario.cache, self.occupancy
        errors = [abs(c.error) for c in self.checks]
        return {
            "scenario": s.name, "model": s.model, "machine": s.machine, "seed": s.seed, "policy": s.policy.kind,
            "tensor": s.parallel.tensor, "data": s.parallel.data, "pipeline": s.parallel.pipeline,
            "expert": s.parallel.expert, "sockets": s.parallel.sockets,
            "requests": len(r.arrival_s), "prompt_tokens": int(r.prompt_tokens.sum()),
            "output_tokens": self.output_tokens, "seconds": self.seconds,
            "throughput_tokens_per_s": self.output_tokens / self.seconds,
            "throughput_requests_per_s": len(r.arrival_s) / self.seconds,
            "ttft_s": spread(r.ttft_s), "tpot_s": spread(r.tpot_s[r.output_tokens > 1]),
            "latency_s": spread(r.finish_s - r.arrival_s),
            "slo": {"ttft_s": s.objectives.ttft_s, "tpot_s": s.objectives.tpot_s, "attainment": self.attainment},
            "kv": {
                "memory": self.placement.memory.name, "block_tokens": cache.block_tokens, "blocks": self.blocks,
                "occupancy_mean": mean_peak[0], "occupancy_peak": mean_peak[1],
            },
            "weights": {"bytes_per_socket": self.placement.weight_bytes, "spilled_bytes": self.placement.spilled_bytes},
            "preemptions": dict(self.preemptions), "swapped_bytes": self.swapped_bytes,
            "energy_J": self.energy_J, "energy_per_token_J": self.energy_J / self.output_tokens,
            "steps": len(self.steps.end_s), "mean_batch": float(self.steps.decodes.mean()),
            "fragments": self.fragments,
            "interpolation": {
                "checked_steps": len(errors), "mean_abs_error": float(np.mean(errors)) if errors else None,
                "max_abs_error": max(errors, default=None),
                "checks": [{"shape": c.shape, "interpolated_s": c.interpolated_s, "simulated_s": c.simulated_s,
                            "error": c.error} for c in self.checks],
            },
            "left_out": [str(p) for p in self.problems],
        }  # fmt: skip


def spread(values: Floats) -> dict[str, float]:
    """Mean, percentiles and largest; all 0 of no values."""
    if not len(values):
        values = np.zeros(1)
    found = {"mean": float(values.mean())}
    found.update((f"p{p}", float(np.percentile(values, p))) for p in PERCENTILES)
    return {**found, "max": float(values.max())}
