"""Three tiers: a model that does not fit the near tier streams from the far one, byte for byte."""

from __future__ import annotations

import pytest

from accelsim import load_model
from accelsim.arch.architecture import Architecture
from accelsim.arch.loader import load_spec
from accelsim.engine import compiled
from accelsim.engine.bounds import program_bound
from accelsim.engine.labels import Action
from accelsim.engine.trace import Trace
from accelsim.errors import DoesNotFit
from accelsim.ir import Role, Workload
from accelsim.lowering import lower
from accelsim.mappers.tile import map_workload
from accelsim.mapping.replay import replay
from accelsim.workloads.huggingface import load_config
from accelsim.workloads.zoo import load


def sn40l(hbm: str) -> Architecture:
    return load_spec("sn40l").with_values({"memories.hbm.capacity": hbm}).build()


@pytest.fixture(scope="module")
def llama() -> Workload:
    return load_config(load("llama-2-70b")).decode(1, 1024)


def simulated(arch: Architecture, workload: Workload) -> Trace:
    mapping = map_workload(workload, arch)
    replay(mapping, workload, arch)
    program = lower(arch, workload, mapping)
    trace = compiled.run(program)
    assert program_bound(program) <= trace.finish
    return trace


def moved(trace: Trace, component: str, action: str) -> int:
    counts = trace.action_counts()
    return sum(
        int(n)
        for a, n in zip(trace.program.actions, counts, strict=True)
        if isinstance(a, Action) and (a.component, a.action) == (component, action)
    )


def test_llama_70b_streams_from_ddr_until_hbm_holds_it(llama: Workload) -> None:
    weights = llama.bytes_by_role()[Role.WEIGHT]
    assert weights > 64 * 2**30
    ddr, finish = [], []
    for capacity in ("16 GiB", "32 GiB", "64 GiB", "96 GiB", "128 GiB", "160 GiB"):
        trace = simulated(sn40l(capacity), llama)
        ddr.append(moved(trace, "ddr", "read"))
        finish.append(trace.finish)
        # Every byte that leaves DDR reaches HBM, and is read there once more.
        stored = moved(trace, "hbm", "write")
        assert stored >= ddr[-1]
        assert stored - ddr[-1] < 0.001 * weights  # the rest is the KV cache and hidden states
        # The rows of the embedding that one token does not read are the only weights that stay behind.
        assert moved(trace, "hbm", "read") > weights - 2 * 32000 * 8192
    assert ddr == sorted(ddr, reverse=True)
    assert finish == sorted(finish, reverse=True)
    assert ddr[-1] == 0
    assert len(set(ddr[:4])) == 4
    # What streams is a whole number of layers.
    layer = (ddr[0] - ddr[1]) // round((ddr[0] - ddr[1]) / (weights / 80))
    assert all(x % layer == 0 for x in ddr)


def test_too_small_for_all_tiers_names_the_shortfall(llama: Workload) -> None:
    arch = load_spec("sn40l").with_values({"memories.hbm.capacity": "8 GiB", "memories.ddr.capacity": "64 GiB"}).build()
    with pytest.raises(DoesNotFit, match=r"memory ddr: [\d,]+ bytes are needed at once and it holds 68,719,476,736"):
        map_workload(llama, arch)


def test_what_does_not_fit_says_what_to_do() -> None:
    """Caches stay next to the chip, weights alone go further: the message says so, and what would help."""
    arch = load_spec("sn40l").with_values({"memories.hbm.capacity": "2 GiB"})
    told = r"layer.k_cache .*; weights alone go on to ddr: take a smaller batch, .* give hbm more \(`--set memories.hbm"
    with pytest.raises(DoesNotFit, match=told):
        map_workload(load_model("llama-3-8b", phase="decode", batch=64, context=8192), arch.build())
    with pytest.raises(DoesNotFit, match=r"memory ddr: .*; give ddr more \(`--set memories.ddr.capacity="):
        map_workload(load_model("llama-3-8b", seq=16), arch.with_values({"memories.ddr.capacity": "8 GiB"}).build())
    with pytest.raises(DoesNotFit, match=r"memory dram: .*, or give dram a memory behind it \(its `parent`\)"):
        map_workload(load_model("llama-3-8b", seq=16), load_spec("edge_npu").build())
