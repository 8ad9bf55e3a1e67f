"""Operands that come while Einsums before their own run: rooms by hand, and Mappings with and without, at random."""

from __future__ import annotations

from random import Random

import pytest
from support.machines import array_machine

from accelsim.engine import compiled, reference
from accelsim.ir import Workload
from accelsim.ir.build import WorkloadBuilder
from accelsim.lowering import lower
from accelsim.mappers.aims import LATENCY
from accelsim.mappers.tile import map_workload
from accelsim.mappers.tile.ahead import Ahead, Early, Load, Obstacle, Stretch
from accelsim.mappers.tile.network import Network
from accelsim.mapping.constraints import Constraints
from accelsim.mapping.replay import replay

WAY = ("w", "sram", False)


def stretch(room: int, cycles: float, moving: float, *loads: Load) -> Stretch:
    return Stretch(loads, {"sram": room}, cycles, moving, 0.0)


def weights(tiles: int, ready: int = 0, *, weight: bool = True) -> Load:
    """Tiles of 10 bytes in two buffers, at a cycle per byte."""
    return Load(WAY, ready, weight, 10, 2, tiles, 1.0)


def test_as_many_tiles_come_as_there_is_idle_time_for() -> None:
    waiting = stretch(1000, 100, 100, weights(10))
    assert Ahead([stretch(1000, 100, 0), waiting]).choice == {(1, WAY): Early(0, 2)}
    assert Ahead([stretch(1000, 100, 0), waiting]).further() == {(1, WAY): Early(0, 10)}
    assert Ahead([stretch(1000, 100, 65), waiting]).further() == {(1, WAY): Early(0, 3)}
    assert Ahead([stretch(1000, 100, 35), stretch(1000, 30, 0), waiting]).further() == {(2, WAY): Early(0, 9)}
    assert Ahead([stretch(1000, 100, 35), stretch(1000, 30, 0), None, waiting]).further() == {}


def test_rooms_hold_what_comes_from_where_it_begins() -> None:
    for room, own, found in ((79, 1000, 7), (1000, 30, 5), (19, 1000, 0), (20, 1000, 2)):
        rooms = [stretch(1000, 100, 0), stretch(room, 1, 0), stretch(own, 100, 100, weights(10))]
        since = 0 if found > 2 else 1
        assert Ahead(rooms).further() == ({(2, WAY): Early(since, found)} if found else {})


def test_idle_time_is_used_once_and_what_computes_does_not_wait() -> None:
    rooms = [stretch(1000, 50, 0), stretch(1000, 60, 60, weights(6)), stretch(1000, 90, 90, weights(9))]
    ahead = Ahead(rooms)
    assert ahead.further() == {(1, WAY): Early(0, 5), (2, WAY): Early(1, 2)}
    assert ahead.saved == 30
    busy = Stretch((weights(9),), {"sram": 1000}, 90.0, 90.0, 60.0)
    assert Ahead([stretch(1000, 500, 0), busy]).further() == {(1, WAY): Early(0, 3)}


def test_what_is_in_the_way_is_told_with_what_it_would_have_to_leave() -> None:
    waiting = stretch(1000, 100, 100, weights(10))
    for narrow in (stretch(25, 100, 100), stretch(25, 100, 70)):
        ahead = Ahead([stretch(1000, 100, 0), narrow, waiting])
        assert ahead.further() == {(2, WAY): Early(1, 2)}
        assert ahead.obstacles == {1: Obstacle("sram", 100 - 25, 80.0)}
    for enough in (100, 1000):
        ahead = Ahead([stretch(1000, 100, 0), stretch(enough, 100, 100), waiting])
        assert ahead.further() == {(2, WAY): Early(0, 10)} and not ahead.obstacles
    late = Ahead([stretch(1000, 100, 100), stretch(25, 100, 70), waiting])  # there would be no time before it
    assert late.further() == {(2, WAY): Early(1, 2)} and late.obstacles == {1: Obstacle("sram", 30 - 25, 10.0)}


def test_what_the_one_in_the_way_loads_ahead_goes_with_its_tiles() -> None:
    """Its weights fill it, and most of what is there before it, where they come while that runs."""
    filled = Stretch((Load(WAY, 0, True, 900, 1, 1, 0.1),), {"sram": 25}, 90.0, 90.0, 0.0)
    ahead = Ahead([stretch(1000, 200, 0), stretch(1000, 100, 50), filled, stretch(1000, 100, 100, weights(10))])
    assert ahead.further() == {(2, WAY): Early(1, 1), (3, WAY): Early(2, 2)}
    assert ahead.obstacles == {2: Obstacle("sram", 100 - 25, 80.0)}


def test_an_einsum_in_the_way_is_tiled_with_less_room() -> None:
    """Products that are bound by their multiplications, before one that is bound by its weights."""
    b = WorkloadBuilder("in the way", bits=8)
    x, y = b.input("x", (256, 64)), b.input("y", (1, 512))
    for i in range(3):
        x = b.matmul(x, b.weight(f"w{i}", (64, 64)))
    b.output(x)
    b.output(b.matmul(y, b.weight("w", (512, 64))))
    workload = b.build()
    arch = array_machine(8, 8, bandwidth="1 GB/s", capacity="32 KiB", dataflows="[os, ws]")
    one = Network(workload, arch, LATENCY, Constraints())
    further, plans = one.mapping(further=True), dict(one.plans)
    assert one.make_way(100.0)
    (changed,) = (place for place, plan in one.plans.items() if plan != plans[place])
    assert one.plans[changed].working_set["sram"] < plans[changed].working_set["sram"]
    chosen = map_workload(workload, arch)
    cycles = [compiled.run(lower(arch, workload, m)).finish for m in (further, chosen)]
    assert cycles[1] < 0.99 * cycles[0]
    replay(chosen, workload, arch)


def test_activations_come_when_they_are_made_and_only_further_ahead() -> None:
    rooms = [stretch(1000, 100, 0)] * 3
    for ready, since in ((0, 2), (2, 2), (3, None)):
        ahead = Ahead([*rooms, stretch(1000, 20, 20, weights(2, ready, weight=False))])
        assert not ahead.choice
        assert ahead.further() == ({} if since is None else {(3, WAY): Early(since, 2)})


def network(seed: int) -> Workload:
    """Products one after the other, some of few rows, with sums of results of different ones between them."""
    random = Random(seed)
    b = WorkloadBuilder(f"network {seed}", bits=random.choice((8, 16)))
    rows = random.choice((1, 4, 64))
    x = b.input("x", (rows, random.choice((16, 64, 200))))
    earlier = [x]
    for i in range(random.randint(2, 6)):
        width = random.choice((16, 64, 200, 512))
        x = b.matmul(x, b.weight(f"w{i}", (b.shape(x)[1], width)))
        same = [y for y in earlier if b.shape(y) == b.shape(x)]
        if same and random.random() < 0.7:
            x = b.elementwise("add", x, random.choice(same))
        earlier.append(x)
    b.output(x)
    return b.build()


@pytest.mark.parametrize("seed", range(24))
def test_further_ahead_moves_the_same_and_fits(seed: int) -> None:
    random, workload = Random(seed), network(seed)
    capacity = random.choice(("4 KiB", "16 KiB", "64 KiB"))
    arch = array_machine(4, 4, bandwidth=random.choice(("0.5 GB/s", "4 GB/s")), capacity=capacity, dataflows="[os, ws]")
    one = Network(workload, arch, LATENCY, Constraints())
    plain = one.mapping()
    further = one.mapping(further=True)
    assert further.root == plain.root and further.stays == plain.stays
    assert replay(further, workload, arch).traffic_bytes == replay(plain, workload, arch).traffic_bytes
    traces = [compiled.run(lower(arch, workload, m)) for m in (plain, further)]
    assert not traces[1].differences(reference.run(traces[1].program))
    chosen = compiled.run(lower(arch, workload, map_workload(workload, arch)))
    assert chosen.finish <= traces[0].finish


def test_over_ways_without_limit_nothing_is_waited_for() -> None:
    free = Load(WAY, 0, True, 10, 2, 10, 0.0)
    assert Ahead([stretch(1000, 100, 0), stretch(1000, 100, 100, free)]).further() == {(1, WAY): Early(0, 2)}
