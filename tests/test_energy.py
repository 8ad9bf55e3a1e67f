"""Default energies, areas and leakage powers from the cited tables; operating points."""

from __future__ import annotations

import csv
import pickle
from importlib import resources
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.machine_files import GOOD, changed, problems

from accelsim.arch import Architecture, OperatingPoint, load_spec, loads_architecture
from accelsim.arch.energy import (
    Arithmetic,
    logic_scale,
    mac_area,
    operation,
    register,
    sram_access,
    sram_area,
    sram_scale,
    standards,
    transfer,
    wire,
)
from accelsim.components.link import Link

RUNNING = GOOD + "voltage: 0.8 V\noperating_point: {voltage: 0.6 V, clock: 500 MHz}\n"


def test_default_energies_meet_the_cited_figures() -> None:
    assert sram_access(65536, 45)[0].value == pytest.approx(25.9e-12 / 8)
    assert sram_access(65536, 16)[0].value == pytest.approx(4.84e-12 / 8)
    assert sram_access(16384, 45)[1].value == pytest.approx(10.7e-12 / 8)
    assert operation("mac", "int", 8, 7).value == pytest.approx(0.0974e-12)
    assert operation("mac", "int", 16, 45).value == pytest.approx(3.890e-12)
    assert operation("mac", "int", 16, 16).value == pytest.approx(0.675e-12)
    assert operation("mac", "float", 16, 45).value == pytest.approx(1.5e-12)
    assert operation("mac", "float", 16, 7).value == pytest.approx(0.50e-12)
    assert operation("exp", "float", 16, None).value == pytest.approx(94.6475e-12)
    assert register(16, 45).value == pytest.approx(0.166e-12 / 2)
    assert transfer("dram", "HBM2").value == pytest.approx(31.2e-12)
    # CACTI 7 at 7 nm, 1 MB in 8 banks with a 512 b port: 72 pJ. The rule for nodes below 16 nm, unseen by it, is close.
    assert sram_access(2**20, 7)[0].value == pytest.approx(72e-12 / 64, rel=0.1)


def test_default_energies_grow_with_size_and_node() -> None:
    for node in (7, 16, 22, 45, 65, 130):
        sizes = [sram_access(2**i, node)[0].value for i in range(4, 30)]
        assert sizes == sorted(sizes)
    nodes = (3, 5, 7, 10, 12, 16, 22, 28, 32, 40, 45, 65, 90)
    for scale in (logic_scale, sram_scale):
        values = [scale(node, 45) for node in nodes]
        assert values == sorted(values)
        assert scale(45, 45) == 1
        assert scale(16, 7) * scale(7, 16) == pytest.approx(1)
    for cost_class in ("mac", "add", "mul", "exp", "div", "max"):
        for bits in (8, 16, 32):
            values = [operation(cost_class, "float", bits, node).value for node in nodes]
            assert values == sorted(values)


def test_default_energies_grow_with_width_at_every_node() -> None:
    for node in (3, 7, 10, 16, 28, 45, 65, 90):
        for arithmetic in get_args(Arithmetic):
            for cost_class in ("mac", "add", "mul", "exp", "div", "max", "copy"):
                values = [operation(cost_class, arithmetic, bits, node).value for bits in range(1, 65)]
                assert values == sorted(values), (node, arithmetic, cost_class)
                assert len(set(values)) == len(values)


def test_rows_of_a_quantity_at_a_node_are_of_one_family() -> None:
    """What one source says of a width must not stand beside what another says of the next."""
    text = resources.files("accelsim.arch").joinpath("energy.csv").read_text(encoding="utf-8")
    families: dict[tuple[str, str], set[str]] = {}
    for row in csv.DictReader(text.splitlines()):
        assert len(row["scope"]) > 4, row
        if row["bits"]:
            families.setdefault((row["quantity"], row["node_nm"]), set()).add(row["source"].split()[0])
    assert {found for found, names in families.items() if len(names) > 1} == set()


def test_a_width_between_two_rows_is_interpolated_and_cites_the_nearest() -> None:
    figure = operation("mac", "int", 12, 45)
    assert figure.value == pytest.approx(1.033e-12 * (3.890 / 1.033) ** 0.58496, rel=1e-4)  # log2(12 / 8)
    assert "16 b multiplier and 32 b adder; Aladdin" in figure.source
    assert figure.source.endswith("interpolated to 12 b")
    assert operation("mac", "int", 4, 45).value == pytest.approx(1.033e-12 / 2)


def test_a_figure_between_two_nodes_lies_between_theirs_and_cites_both() -> None:
    figure = operation("add", "float", 32, 16)
    assert operation("add", "float", 32, 7).value < figure.value < operation("add", "float", 32, 45).value
    assert figure.value == pytest.approx(0.38e-12 * (0.9 / 0.38) ** 0.444256, rel=1e-4)  # ln(16/7) / ln(45/7)
    assert "Horowitz" in figure.source
    assert "Jouppi" in figure.source


def test_every_row_of_the_tables_is_cited_and_recalled_ones_are_marked() -> None:
    for name in ("energy.csv", "area.csv"):
        text = resources.files("accelsim.arch").joinpath(name).read_text(encoding="utf-8")
        rows = list(csv.DictReader(text.splitlines()))
        assert rows
        for row in rows:
            assert len(row["source"]) > 5
            assert None not in row, row  # a source with a comma stands in quotes
            assert ("Horowitz" in row["source"]) <= ("(recalled)" in row["source"])


def test_wires_cost_by_length() -> None:
    assert wire(10, 40).value == pytest.approx(310e-12 / 256 * 8, rel=2e-3)
    assert wire(10, 10).value == pytest.approx(200e-12 / 256 * 8, rel=2e-3)
    assert wire(2, 22).value * 5 == pytest.approx(wire(10, 22).value)
    assert wire(1, 5).value == wire(1, 10).value  # the last figure holds
    assert wire(10, 10).value < wire(10, 22).value < wire(10, 40).value
    link = Link(between=("a", "b"), length=5.0, bandwidth=1e9)
    assert link.action_energy()["transfer"] == pytest.approx(wire(5, None).value)
    with pytest.raises(ValueError, match="give one of them"):
        Link(between=("a", "b"), length=5.0, standard="CXL")
    with pytest.raises(ValueError, match="no default energy of DDR5"):
        transfer("dram", "DDR5")
    assert "DDR5" not in standards("dram")


def test_areas_meet_the_cited_figures_and_end_with_them() -> None:
    def square_mm(capacity: int, node: float) -> float:
        figure = sram_area(capacity, node)
        assert figure is not None
        return figure.value

    assert square_mm(2**18, 45) == pytest.approx(0.839)
    assert square_mm(128 * 2**20, 22) == pytest.approx(112)
    assert square_mm(2**20, 7) == pytest.approx(0.334)
    assert square_mm(2**19, 7) == pytest.approx(0.167)
    assert [square_mm(2**20, n) for n in (7, 10, 16, 22, 32, 45, 65)] == sorted(
        square_mm(2**20, n) for n in (7, 10, 16, 22, 32, 45, 65)
    )
    assert sram_area(2**20, 5) is sram_area(2**20, 90) is sram_area(2**20, None) is None
    mac = mac_area("int", 8, 45)
    assert mac is not None
    assert mac.value == 0.00078
    assert mac_area("int", 8, 44) is mac_area("float", 8, 45) is mac_area("int", 8, None) is None


def test_areas_of_a_machine_are_given_or_listed() -> None:
    arch = loads_architecture(GOOD)
    assert arch.without_area() == ("dram", "array", "vector", "bus")
    assert arch.area_mm2 == arch.memories["sram"].area_mm2 == pytest.approx(0.3347, rel=1e-3)
    at_45 = loads_architecture(changed("16 nm", "45 nm"))
    assert at_45.units["array"].area_mm2 == pytest.approx(16 * 8 * 0.00078)
    assert at_45.defaults_used()["array.area"].startswith("0.09984 mm2 (128 MACs: Aladdin")
    none = loads_architecture(changed("technology: 16 nm\n", ""))
    assert none.area_mm2 is None
    assert none.without_area() == tuple(c.name for c in none.components())


def test_every_default_is_listed_with_its_source() -> None:
    used = loads_architecture(GOOD).defaults_used()
    assert "CACTI 7" in used["sram.read_energy"]
    assert "no standard given, DDR4 taken" in used["dram.read_energy"]
    assert "Shao" in used["array.mac_energy"]
    assert used["vector.rates.add"].startswith("1 per lane")
    assert used["bus.energy"] == "0 pJ/byte (no energy, no standard and no length given)"
    bare = loads_architecture(changed("technology: 16 nm\n", ""))
    assert "no technology given, 45 nm taken" in bare.defaults_used()["sram.read_energy"]
    given = changed("512 KiB", "512 KiB\n    read_energy: 1 pJ/bit\n    write_energy: 2 pJ/bit\n    area: 1 mm2")
    arch = loads_architecture(given)
    assert arch.memories["sram"].action_energy() == {"read": 8e-12, "write": 16e-12}
    assert not any(k.startswith("sram.") for k in arch.defaults_used())


def energies(arch: Architecture) -> dict[str, float]:
    return {f"{c.name}.{a}": e for c in arch.components() for a, e in c.action_energy().items()}


def test_energy_goes_with_the_square_of_the_voltage_and_leakage_with_it() -> None:
    leaky = changed("capacity: 512 KiB", "capacity: 512 KiB\n    leakage: 8 mW")
    nominal = loads_architecture(leaky)
    running = loads_architecture(leaky + "voltage: 0.8 V\noperating_point: {voltage: 0.6 V, clock: 500 MHz}\n")
    before, after = energies(nominal), energies(running)
    assert before.keys() == after.keys()
    for key, energy in before.items():
        off_chip = key.startswith(("dram.", "bus."))  # the bus ends in DRAM
        assert after[key] == pytest.approx(energy * (1 if off_chip else 0.5625), rel=1e-12), key
    assert running.memories["sram"].leakage_watts == pytest.approx(6e-3)
    assert nominal.memories["sram"].leakage_watts == 8e-3
    assert running.defaults_used() == nominal.defaults_used()  # figures are shown at the nominal voltage


def test_the_operating_clock_is_what_cycles_mean() -> None:
    arch = loads_architecture(RUNNING)
    assert arch.clock == 500e6
    assert arch.memories["sram"].port("read") == ("sram", 32e9)  # 64 B/cycle
    assert arch.memories["dram"].port("read") == ("dram", 16e9)  # in bytes per second
    assert arch.units["array"].clock_hz == 500e6
    assert arch.operating_point == OperatingPoint(0.6, 0.8, 1e9)
    same_clock = loads_architecture(GOOD + "voltage: 0.8 V\noperating_point: {voltage: 0.6 V}\n")
    assert same_clock.clock == 1e9


def test_the_nominal_point_is_the_default() -> None:
    plain, stated = loads_architecture(GOOD), loads_architecture(GOOD + "voltage: 0.8 V\n")
    assert energies(plain) == energies(stated)
    assert stated.clock == plain.clock
    same = loads_architecture(GOOD + "voltage: 0.8 V\noperating_point: {voltage: 800 mV, clock: 1 GHz}\n")
    assert same == stated
    assert plain.operating_point is None


def test_an_operating_point_is_part_of_the_machine() -> None:
    arch = loads_architecture(RUNNING)
    again = loads_architecture(arch.to_yaml(), "again")
    assert again == arch == pickle.loads(pickle.dumps(arch))
    assert again.spec_hash == arch.spec_hash
    assert len({loads_architecture(t).spec_hash for t in (GOOD, RUNNING, RUNNING.replace("0.6 V", "0.7 V"))}) == 3


def test_an_operating_point_can_be_varied() -> None:
    spec = load_spec("edge_npu").with_values({"voltage": "0.8 V", "operating_point.voltage": "0.4 V",
                                              "operating_point.clock": "250 MHz"})  # fmt: skip
    arch, nominal = spec.build(), load_spec("edge_npu").build()
    assert arch.clock == 250e6
    ratio = arch.units["array"].action_energy()["mac"] / nominal.units["array"].action_energy()["mac"]
    assert ratio == pytest.approx(0.25)
    assert "operating_point.voltage" in spec.paths()


@pytest.mark.parametrize(
    "keys, expected",
    [
        ("operating_point: {voltage: 1 V}",
         "m.yaml:20: operating_point: needs the nominal `voltage` (at which energies and leakage hold)"),
        ("voltage: 1 V\noperating_point: {clock: 1 GHz}", "m.yaml:21: operating_point: missing key `voltage`"),
        ("voltage: 1 V\noperating_point: {voltage: 1 V, clok: 1 GHz}",
         "m.yaml:21: operating_point.clok: unknown key `clok` (did you mean `clock`?)"),
        ("voltage: 0 V", "m.yaml:20: voltage: `0 V`: a voltage must be more than zero (such as `0.8 V` or `750 mV`)"),
    ],
)  # fmt: skip
def test_wrong_operating_points_are_told(keys: str, expected: str) -> None:
    (only,) = problems(f"{GOOD}{keys}\n")
    assert only.startswith(expected)


@given(st.floats(0.1, 2), st.floats(0.1, 2))
@settings(deadline=None, derandomize=True)
def test_scaling_is_exact_in_the_ratio(voltage: float, nominal: float) -> None:
    point = OperatingPoint(voltage, nominal, 1e9)
    assert point.dynamic_scale == pytest.approx(point.leakage_scale**2)
    assert (point.dynamic_scale <= point.leakage_scale) == (voltage <= nominal) or voltage == nominal
