"""Pipelines on machines: budgets from their figures, and what kernels cost there."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest
from support.cli import accelsim
from support.fuzz.seeds import POOL_MACHINE

from accelsim.arch import loads_architecture
from accelsim.errors import BadInput, DoesNotFit
from accelsim.ir import parse_cascade
from accelsim.mappers.pipeline import (
    Budget,
    Lanes,
    allot,
    budget_of,
    build_stages,
    costs,
    fabric_of,
    plan_pipeline,
    timing_of,
)
from accelsim.mappers.pipeline.machine import check_runs
from accelsim.workloads import zoo
from accelsim.workloads.text.cascade_file import loads_cascade

ATTENTION = ["attention_3pass", "--bind", "b=1", "--bind", "h=2", "--bind", "m=64", "--bind", "p=64"]
CASCADE = "size t=6; size d=4; size f=8\nH[t,f] = X[t,d] * W[d,f]\nE[t,f] = exp(H[t,f])\nS[t] = E[t,f]"


def test_a_budget_is_the_machine() -> None:
    text = POOL_MACHINE.replace("multipliers: 4", "multipliers: 4, rates: {exp: 1/6, mul: 0}")
    fabric = fabric_of(loads_architecture(text), switch="host")
    budget = budget_of(fabric)
    (lanes,) = budget.lanes
    assert (lanes.count, lanes.group, budget.stages) == (48, 4, 12)
    assert lanes.rates["exp"] == Fraction(1, 6)
    assert "mul" not in lanes.classes
    assert budget.on_chip_bytes == 256 * 1024
    assert budget.off_chip_bytes_per_cycle == 16
    assert budget.launch_cycles == 1000
    assert timing_of(fabric).latency == 2
    with pytest.raises(BadInput, match="no switch `hots`"):
        fabric_of(loads_architecture(POOL_MACHINE), switch="hots")
    with pytest.raises(BadInput, match="no unit does mul"):
        check_runs(fabric, parse_cascade("size t=2\nY[t] = A[t] * B[t]", name="x"))


def test_slow_operations_take_more_units_and_cores_go_whole() -> None:
    """H takes 4 multipliers, one core; E a lane of exp, which is six, two cores; S one adder, one core of four."""
    stages = build_stages(parse_cascade(CASCADE, name="x"), order=["t", "f"], split=False).stages
    slow = Lanes("pool", 48, ("mac", "exp", "add"), {"exp": Fraction(1, 6)}, 4)
    found = allot(stages, Budget((slow,)))
    assert dict(found.lanes) == {"H": 4, "E": 1, "S": 1}
    assert found.used == {"pool": 4 + 8 + 4}
    assert allot(stages, Budget((Lanes("pool", 48, ("mac", "exp", "add")),))).used == {"pool": 4 + 1 + 1}
    tight = allot(stages, Budget((Lanes("pool", 16, ("mac", "exp", "add"), {"exp": Fraction(1, 6)}, 4),)))
    assert tight == found
    with pytest.raises(DoesNotFit, match="16 units"):
        allot(stages, Budget((Lanes("pool", 12, ("mac", "exp", "add"), {"exp": Fraction(1, 6)}, 4),)))


def test_costs_by_hand() -> None:
    """Operations, bytes and tokens of a cascade counted by hand, at the machine's prices."""
    arch, workload = loads_architecture(POOL_MACHINE), parse_cascade(CASCADE, name="x")
    fabric = fabric_of(arch)
    plan = plan_pipeline(workload, budget_of(fabric), timing=timing_of(fabric), split=False)
    told = costs(plan, fabric)
    assert len(plan.kernels) == 1
    prices = arch.units["pool"].action_energy()
    unit = 6 * 8 * 4 * prices["mac"] + 6 * 8 * prices["exp"] + 6 * 8 * prices["add"]
    assert told["energy_by_component_J"]["pool"] == pytest.approx(unit)
    read, written = plan.kernels[0].read_bytes, plan.kernels[0].written_bytes
    assert (read, written) == (2 * (6 * 4 + 4 * 8), 2 * 6)
    tokens = 2 * (6 * 8 + 6 * 8)  # H and E pass element by element
    assert told["traffic_bytes"] == {
        "dram": {"read": read, "write": written}, "sram": {"read": written + tokens, "write": read + tokens},
    }  # fmt: skip
    assert told["macs"] == 6 * 8 * 4
    assert told["bounds"]["machine"] <= told["bounds"]["program"] <= plan.cycles


@pytest.mark.parametrize("arch", ["plasticine", "sn40l_kernels", "alveo_u280_cores", "fusemax"])
def test_every_budget_runs_attention(arch: str) -> None:
    ran = accelsim("pipeline", *ATTENTION, "--arch", arch, "--json")
    assert ran.code == 0, ran.output
    told = json.loads(ran.output)
    assert told["energy_J"] >= told["energy_dynamic_J"] > 0
    assert told["macs"] == loads_cascade(
        zoo.cascade_text("attention_3pass"), "a", ranks={"b": 1, "h": 2, "m": 64, "p": 64}
    ).macs  # fmt: skip
    assert told["bounds"]["machine"] <= told["bounds"]["program"] <= told["cycles"]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--switch", "host"], 2, "--switch goes with --arch"),
        (["--set", "clock=1 GHz"], 2, "--set goes with --arch"),
        (["--arch", "plasticine", "--clock", "2 GHz"], 2, "--clock goes without --arch"),
        (["--arch", "plasticine", "--switch", "hots"], 2, "no switch `hots`"),
        (["--arch", "plasticine", "--set", "units.pcu.cores=3", "--kernels", "1"], 3, "units"),
    ],
)
def test_what_users_get_wrong(options: list[str], code: int, message: str) -> None:
    ran = accelsim("pipeline", *ATTENTION, *options)
    assert ran.code == code
    assert message in ran.output
