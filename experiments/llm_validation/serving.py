"""LLM serving on A100, H100 and GH200: whole runs of a batch, with three constants for each device and software.

What a product reaches of compute and bandwidth is taken from the operators (`experiment.fitted`). Three constants of
each device and software are fitted to one model on one and two sockets: what a kernel and what an exchange between
sockets takes besides, and one of two others, whichever leaves less of those same runs: the share that attention of
grouped queries reaches, or what the host takes for every sequence of a step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

from ...arch.loader import load_spec
from ...serving.llm.arrivals import TraceRequests
from ...serving.llm.at_once import served_at_once
from ...serving.llm.costs import Overheads, StepCosts
from ...serving.llm.deployment import Deployment, deploy, grouped
from ...serving.llm.scenario import LlmScenario, Parallel
from ...serving.llm.state import Policy, Tokens
from ...study.calibrate import Constants, variant_values
from ..loader import data_path, table

WANTED = 0.12
RESERVES: Mapping[str, bool] = {"TensorRT-LLM": True, "vLLM": False}
"""Whether a request joins only when there is room for all its tokens."""


UNITS = (
    Overheads(kernel_s=1e-6),
    Overheads(exchange_s=1e-6),
    Overheads(grouped_attention=0.5),
    Overheads(sequence_s=1e-6),
)
"""One of each constant; half the share is once the time more."""
THIRDS = (2, 3)
"""Of `UNITS`, those of which a device and software have one beside the first two."""


@dataclass(frozen=True)
class Device:
    """A machine file, the set of operators whose constants it has, and its links.

    Attributes:
        machine: of this folder, or a preset.
        operators: set of `experiment.SETS`.
        topology, bandwidth: of the sockets of a replica, as in `Parallel`.
        software_of: whose launches it has, where none of its rows are fitted.
    """

    machine: str
    operators: str
    topology: str
    bandwidth: float
    software_of: str = ""


DEVICES: Mapping[str, Device] = {
    # Four A100 of a node of Polaris: 12 links of NVLink 3, 25 GB/s each way, four to each of three peers (data sheets).
    "a100": Device("a100_40gb.yaml", "a100_vidur", "full", 100e9),
    "h100": Device("h100_sxm", "h100_vidur", "switch", 450e9),
    "gh200": Device("gh200.yaml", "h100_vidur", "switch", 450e9, "h100"),
}


@dataclass(frozen=True)
class Served:
    """A row of ``serving.csv``: `batch` requests at once, seconds until the last token of all."""

    device: str
    software: str
    model: str
    sockets: int
    batch: int
    tokens: Tokens
    seconds: float
    fit: bool
    source: str

    @property
    def group(self) -> tuple[str, str, int]:
        """What decides the costs of steps and the room for requests."""
        return self.device, self.model, self.sockets

    def __str__(self) -> str:
        model = self.model.removesuffix(".json")
        return f"{self.sockets} x {self.device}, {self.software}, {model}, batch {self.batch}, {self.tokens.prompt} in"


@cache
def served() -> tuple[Served, ...]:
    return tuple(
        Served(r["device"], r["software"], r["model"], int(r["sockets"]), int(r["batch"]),
               Tokens(int(r["prompt_tokens"]), int(r["output_tokens"])), float(r["seconds"]), r["use"] == "fit",
               r["source"])
        for r in table(__package__ or "", "serving.csv")
    )  # fmt: skip


def scenario_of(row: Served, constants: Constants, overheads: Overheads) -> LlmScenario:
    """The requests of a row, all at once, on its sockets."""
    device = DEVICES[row.device]
    machine = str(data_path(__package__ or "", device.machine)) if "." in device.machine else device.machine
    model = str(data_path(__package__ or "", row.model)) if row.model.endswith(".json") else row.model
    values = tuple(variant_values(load_spec(machine), constants).items())
    return LlmScenario(
        model, machine, TraceRequests(((0.0, row.tokens),) * row.batch), values,
        Parallel(row.sockets, 1, device.topology, device.bandwidth),
        policy_of(row), overheads=overheads, checks=0,
    )  # fmt: skip


def policy_of(row: Served) -> Policy:
    return Policy("continuous", 256, 8192, "recompute", RESERVES[row.software])


@cache
def deployed(row: Served, constants: Constants) -> Deployment:
    """What runs of a device, software, model and sockets have in common; `row` is any of them."""
    return deploy(scenario_of(row, constants, Overheads()))


@cache
def costs_of(row: Served, constants: Constants, overheads: Overheads) -> StepCosts:
    """Costs of steps; `row` is any with the same device, model and sockets."""
    d = deployed(row, constants)
    own = overheads if grouped(d.model) else replace(overheads, grouped_attention=1.0)
    return StepCosts(d.costs.stages[0].simulate, own)


@cache
def seconds_of(row: Served, constants: Constants, overheads: Overheads) -> float:
    """Simulated, from the arrival to the last token of all, as `simulate_serving` would have it."""
    any_of = next(r for r in served() if r.group == row.group)
    requests, policy = (row.tokens,) * row.batch, policy_of(row)
    return served_at_once(requests, policy, deployed(any_of, constants), costs_of(any_of, constants, overheads).of)


def constants_of(device: str) -> Constants:
    """What operators reach on the device of the same chip."""
    from .experiment import fitted

    return replace(fitted(DEVICES[device].operators)[0].found.constants, launch_s=0.0)


@cache
def overheads_of(device: str, software: str) -> Overheads:
    """Fitted to the rows marked so: least squares of simulated over measured.

    The time of a row is linear in the time of a kernel, of an exchange and of a sequence, and in one over the share
    that attention of grouped queries reaches, for its steps stay the same: a time for each of them gives its line. Of
    the last two the one is taken that leaves the smaller squares, of the fitted rows alone.
    """
    from scipy.optimize import nnls

    constants, lines = constants_of(device), []
    for row in (r for r in served() if r.fit and (r.device, r.software) == (device, software)):
        bare = seconds_of(row, constants, Overheads())
        lines.append(([(seconds_of(row, constants, o) - bare) / row.seconds for o in UNITS], 1 - bare / row.seconds))
    fits = [(*nnls([(*line[0][:2], line[0][third]) for line in lines], [line[1] for line in lines]), third)
            for third in THIRDS]  # fmt: skip
    (kernel, exchange, last), _, third = min(fits, key=lambda fit: float(fit[1]))
    found = Overheads(round(float(kernel) * UNITS[0].kernel_s, 9), round(float(exchange) * UNITS[1].exchange_s, 9))
    if UNITS[third].sequence_s:
        return replace(found, sequence_s=round(float(last) * UNITS[third].sequence_s, 9))
    return replace(found, grouped_attention=round(1 / (1 + float(last)), 4))


def signed_error(row: Served) -> float:
    """Relative, with the constants of its device and software."""
    device = DEVICES[row.device].software_of or row.device
    return seconds_of(row, constants_of(row.device), overheads_of(device, row.software)) / row.seconds - 1


def bare_error(row: Served) -> float:
    """Relative, uncalibrated."""
    return seconds_of(row, Constants(), Overheads()) / row.seconds - 1
