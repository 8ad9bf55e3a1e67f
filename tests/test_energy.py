"""Default energies, areas and leakage: the cited tables, operating points, tables of the user's own."""

from __future__ import annotations

import pytest
from support.machine_files import GOOD, changed

from accelsim.arch import loads_architecture
from accelsim.arch.energy import logic_scale, operation, sram_access, sram_scale, transfer


def test_default_energies_meet_the_cited_figures() -> None:
    assert sram_access(65536, 45)[0].value == pytest.approx(25.9e-12 / 8)
    assert sram_access(65536, 16)[0].value == pytest.approx(4.84e-12 / 8)
    assert sram_access(16384, 45)[1].value == pytest.approx(10.7e-12 / 8)
    assert operation("mac", "int", 8, 7).value == pytest.approx(0.0974e-12)
    assert operation("mac", "int", 16, 45).value == pytest.approx(3.890e-12)
    assert operation("mac", "float", 16, 45).value == pytest.approx(1.5e-12)
    assert operation("exp", "float", 16, None).value == pytest.approx(94.6475e-12)
    assert transfer("dram", "HBM2").value == pytest.approx(31.2e-12)
    # CACTI 7 at 7 nm, 1 MB in 8 banks with a 512 b port: 72 pJ. The rule for nodes below 16 nm, unseen by it, is close.
    assert sram_access(2**20, 7)[0].value == pytest.approx(72e-12 / 64, rel=0.1)


def test_default_energies_grow_with_size_and_node() -> None:
    for node in (7, 16, 22, 45, 65, 130):
        sizes = [sram_access(2**i, node)[0].value for i in range(4, 30)]
        assert sizes == sorted(sizes)
    for scale in (logic_scale, sram_scale):
        values = [scale(node, 45) for node in (3, 5, 7, 10, 12, 16, 22, 28, 32, 40, 45, 65, 90)]
        assert values == sorted(values)
        assert scale(45, 45) == 1
        assert scale(16, 7) * scale(7, 16) == pytest.approx(1)


def test_every_default_is_listed_with_its_source() -> None:
    used = loads_architecture(GOOD).defaults_used()
    assert "CACTI 7" in used["sram.read_energy"]
    assert "no standard given, DDR4 taken" in used["dram.read_energy"]
    assert "Shao" in used["array.mac_energy"]
    assert used["vector.rates.add"].startswith("1 per lane")
    assert "bus.energy" in used
    bare = loads_architecture(changed("technology: 16 nm\n", ""))
    assert "no technology given, 45 nm taken" in bare.defaults_used()["sram.read_energy"]
    given = changed("512 KiB", "512 KiB\n    read_energy: 1 pJ/bit\n    write_energy: 2 pJ/bit")
    arch = loads_architecture(given)
    assert arch.memories["sram"].action_energy() == {"read": 8e-12, "write": 16e-12}
    assert not any(k.startswith("sram.") and "energy" in k for k in arch.defaults_used())
