"""Machines: the Architecture, its paths and hash, kinds of components."""

from __future__ import annotations

import json
import math
import random
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.machine_files import GOOD, changed

from accelsim.arch import Architecture, component_kinds, load_architecture, loads_architecture, preset_names
from accelsim.arch.registry import temporary_kinds
from accelsim.components.buffer import Buffer
from accelsim.components.dram import Dram
from accelsim.components.link import Link
from accelsim.components.vector import VectorUnit
from accelsim.errors import BadInput, SpecError


def test_a_good_machine() -> None:
    arch = loads_architecture(GOOD, "m.yaml")
    assert (arch.name, arch.clock, arch.technology_nm) == ("small", 1e9, 16.0)
    assert [m.name for m in arch.tiers()] == ["dram", "sram"]
    assert [m.name for m in arch.off_chip] == ["dram"]
    assert [u.name for u in arch.units_on("sram")] == ["array", "vector"]
    assert [c.name for c in arch.path("dram", "sram")] == ["dram", "bus", "sram"]
    assert [c.name for c in arch.path("sram", "dram")] == ["sram", "bus", "dram"]
    assert [c.name for c in arch.path("sram", "sram")] == ["sram"]
    assert arch.memories["sram"].port("read") == ("sram", 64e9) == arch.memories["sram"].port("write")
    vector = arch.units["vector"]
    assert isinstance(vector, VectorUnit)
    assert vector.rates == {"exp": Fraction(1, 6), "div": Fraction(1, 8)}
    with pytest.raises(BadInput, match=r"no memory `srm` \(did you mean `sram`\?\)"):
        arch.path("dram", "srm")


def shuffled(value: Any, rng: random.Random) -> Any:
    if isinstance(value, dict):
        items = [(k, shuffled(v, rng)) for k, v in value.items()]
        rng.shuffle(items)
        return dict(items)
    return value


@given(st.randoms(use_true_random=False), st.sampled_from(preset_names()))
@settings(deadline=None, derandomize=True, max_examples=25)
def test_the_order_of_keys_never_matters(rng: random.Random, preset: str) -> None:
    arch = load_architecture(preset)
    other = loads_architecture(json.dumps(shuffled(arch.to_dict(), rng)))
    assert other == arch
    assert hash(other) == hash(arch)
    assert other.spec_hash == arch.spec_hash
    assert [m.name for m in other.tiers()] == [m.name for m in arch.tiers()]
    assert [c.name for c in other.components()] == [c.name for c in arch.components()]


def test_the_hash_covers_results_and_nothing_else() -> None:
    base = loads_architecture(GOOD)
    assert loads_architecture("# note\n" + changed("4 GiB", "4096 MiB")).spec_hash == base.spec_hash
    noted = loads_architecture(changed("kind: buffer", "kind: buffer\n    source: a book"))
    assert noted.spec_hash == base.spec_hash
    assert noted != base
    for old, new in (("4 GiB", "4 GB"), ("80 ns", "81 ns"), ("16 nm", "7 nm"), ("exp: 1/6", "exp: 1/7")):
        assert loads_architecture(changed(old, new)).spec_hash != base.spec_hash


def test_trees_and_links() -> None:
    memories = {
        "c": Buffer(capacity=1, bandwidth=1, parent="a"),
        "b": Buffer(capacity=1, bandwidth=1, parent="a"),
        "a": Dram(capacity=1, bandwidth=1),
        "d": Buffer(capacity=1, bandwidth=1, parent="b"),
    }
    units = {"u": VectorUnit(memory="d", lanes=1)}
    arch = Architecture("tree", 1e9, memories, units)
    assert [m.name for m in arch.tiers()] == ["a", "b", "c", "d"]
    assert [c.name for c in arch.path("c", "d")] == ["c", "a", "b", "d"]
    short = Architecture("tree", 1e9, memories, units, {"x": Link(between=("d", "c"), bandwidth=1)})
    assert [c.name for c in short.path("c", "d")] == ["c", "x", "d"]
    with pytest.raises(SpecError, match="joins the same memories as link `x`"):
        Architecture("tree", 1e9, memories, units, {n: Link(between=("d", "c"), bandwidth=1) for n in "xy"})
    with pytest.raises(SpecError, match=r"tree: units.u.memory: no memory `d`"):
        Architecture("tree", 1e9, {"a": memories["a"]}, units)


def test_python_values_are_in_si_and_checked_too() -> None:
    memory = Buffer(capacity=1024, read_bandwidth=1e9, write_bandwidth="unlimited", name="s")
    assert memory.port("read") == ("s.read", 1e9)
    assert memory.port("write") is None
    odd = ({"bandwidth": math.nan}, {"latency": math.inf})
    wrong_values = ({"capacity": -1}, {"capacity": 1.5}, {"capacity": True}, *odd)
    for wrong in wrong_values:
        with pytest.raises(ValueError, match=r"is not a|negative|not a whole"):
            Buffer(**{"capacity": 1, "bandwidth": 1, **wrong})


def test_own_clock_of_a_unit_is_what_its_cycles_mean() -> None:
    arch = loads_architecture(changed("lanes: 16", "lanes: 16\n    clock: 2 GHz"))
    assert arch.units["vector"].clock_hz == 2e9
    assert arch.units["array"].clock_hz == 1e9
    assert arch.units["vector"].server(Fraction(10**9)).rate == 2


def test_kinds_come_through_entry_points() -> None:
    kinds = component_kinds()
    assert {"buffer", "dram", "open_row_dram", "systolic", "vector", "link"} <= set(kinds)
    for name, kind in kinds.items():
        assert kind.model_fields["kind"].default == name

    class Scratch(Buffer):
        kind: str = "scratch"  # type: ignore[assignment]

    text = changed("kind: buffer", "kind: scratch")
    with pytest.raises(SpecError, match="unknown kind `scratch`"):
        loads_architecture(text)
    with temporary_kinds({"scratch": Scratch}):
        assert loads_architecture(text).memories["sram"].kind == "scratch"


def test_a_plugin_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    from accelsim.arch import registry

    broken = EntryPoint("broken", "no_such_module:Thing", registry.GROUP)
    wrong = EntryPoint("wrong", "json:loads", registry.GROUP)
    monkeypatch.setattr(registry, "_installed", lambda: {"broken": broken, "wrong": wrong})
    with pytest.raises(BadInput, match="kind `broken`: cannot import no_such_module:Thing: ModuleNotFoundError"):
        registry.component_kind("broken")
    with pytest.raises(BadInput, match="kind `wrong`: json:loads is not a subclass"):
        registry.component_kind("wrong")
