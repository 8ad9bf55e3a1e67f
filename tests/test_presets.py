"""Presets against the data sheets of what they model."""

from __future__ import annotations

import pickle

import pytest

from accelsim.arch import load_architecture, loads_architecture, preset_names


@pytest.mark.parametrize("name", preset_names())
def test_presets_load_round_trip_and_pickle(name: str) -> None:
    arch = load_architecture(name)
    assert arch.name == name
    assert arch.source
    again = loads_architecture(arch.to_yaml(), "again")
    assert again == arch
    assert again.spec_hash == arch.spec_hash
    copy = pickle.loads(pickle.dumps(arch))
    assert copy == arch
    assert copy.defaults_used() == arch.defaults_used()
    for component in arch.components():
        assert all(e >= 0 for e in component.action_energy().values())
    with pytest.raises(AttributeError):
        arch.clock = 1.0  # type: ignore[misc]
    with pytest.raises(TypeError):
        del arch.units["array"]  # type: ignore[attr-defined]


def test_presets_have_the_published_peaks() -> None:
    def flops(name: str, unit: str) -> float:
        arch = load_architecture(name)
        return 2 * arch.units[unit].peak_rates()["mac"] * arch.units[unit].clock_hz

    assert flops("sn40l", "pcu") == pytest.approx(638e12, rel=1e-8)
    assert 2 * flops("tpu_like", "mxu") == pytest.approx(123e12, rel=2e-3)  # 123 TFLOP/s per chip of two cores
    assert flops("edge_npu", "array") == 512e9  # Gemmini's default, 256 MACs at 1 GHz
    sn40l = load_architecture("sn40l")
    assert [m.name for m in sn40l.tiers()] == ["ddr", "hbm", "sram"]
    assert [m.capacity for m in sn40l.tiers()] == [1536 * 2**30, 64 * 2**30, 520 * 2**20]
    assert [m.bandwidth for m in sn40l.off_chip] == [200e9, 1.8e12]
    assert "mac" not in sn40l.units["simd"].peak_rates()
    tpu = load_architecture("tpu_like")
    assert 2 * (tpu.memories["hbm"].bandwidth or 0) == 900e9
    assert tpu.memories["vmem"].port("read") == ("vmem.read", 4096 * 940e6)
