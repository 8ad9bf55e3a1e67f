"""Networks, and collectives as Programs on them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.arch.network import Cable, Network, full, network_of, nodes, ring, switch
from accelsim.engine import compiled, reference
from accelsim.errors import BadInput
from accelsim.lowering.collectives import (
    COLLECTIVES,
    Message,
    Messages,
    arrival_seconds,
    collective,
    collective_seconds,
    lower_messages,
    shares,
)

GB = 1e9


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 9), st.integers(1, 40), st.sampled_from([0.0, 1e-6, 2.5e-6]))
def test_a_ring_all_reduce_takes_what_its_closed_form_says(sockets: int, kilobytes: int, latency: float) -> None:
    """2 (n - 1) steps of a latency and n-th part each; at 10 GB/s a byte is a tick, so that it is exact."""
    part = 1000 * kilobytes
    seconds = collective_seconds(ring(sockets, 10 * GB, latency), "all_reduce", part * sockets, "ring")
    assert seconds == pytest.approx(2 * (sockets - 1) * (latency + part / (10 * GB)), rel=1e-12)


@pytest.mark.parametrize("kind", ["reduce_scatter", "all_gather"])
def test_half_of_it_takes_half_the_time(kind: str) -> None:
    seconds = collective_seconds(ring(8, 10 * GB, 1e-6), kind, 80_000, "ring")
    assert seconds == pytest.approx(7 * (1e-6 + 1e-6), rel=1e-12)


def test_direct_collectives_on_full_networks_take_one_part_and_one_latency_a_phase() -> None:
    network = full(8, 10 * GB, 1e-6)
    assert collective_seconds(network, "all_gather", 80_000, "direct") == pytest.approx(2e-6)
    assert collective_seconds(network, "all_reduce", 80_000, "direct") == pytest.approx(4e-6)
    assert collective_seconds(network, "all_to_all", 80_000, "direct") == pytest.approx(2e-6)


def test_ports_of_a_switch_are_shared() -> None:
    """All-gather: seven parts out of and into every port; the first packet crosses two cables."""
    seconds = collective_seconds(switch(8, 10 * GB, 1e-6), "all_gather", 8_000_000, "direct")
    least = 7 * 1_000_000 / (10 * GB) + 1e-6
    assert least < seconds < 1.1 * least


def test_a_tree_reduces_up_and_down() -> None:
    network = full(3, 10 * GB, 1e-6)
    one_piece = arrival_seconds(network, COLLECTIVES["all_reduce"]["tree"](3, 8000))
    assert max(one_piece) == pytest.approx(2e-6 + 2 * 1000 / (10 * GB) + 7 * 1000 / (10 * GB), rel=0.2)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(2, 17), st.integers(1, 10_000), st.sampled_from(["ring", "tree", "direct"]))
def test_every_socket_has_in_the_end_what_was_for_it(sockets: int, nbytes: int, algorithm: str) -> None:
    """What comes in beyond what goes out: parts of others for this socket, less its own parts for others."""
    parts = shares(nbytes, sockets)
    for kind in ("all_to_all", "all_gather"):
        messages = collective(kind, algorithm, sockets, nbytes)
        for i in range(sockets):
            received = sum(m.nbytes for m in messages if m.dst == i)
            sent = sum(m.nbytes for m in messages if m.src == i)
            if kind == "all_to_all":
                assert received - sent == (sockets - 1) * parts[i] - (nbytes - parts[i])
            else:
                assert received == nbytes - parts[i]


@pytest.mark.parametrize("sockets, depth", [(3, 1), (7, 2), (15, 3)])
def test_trees_take_a_message_a_level_up_and_down(sockets: int, depth: int) -> None:
    """A full tree of levels: up 1, 3, 7 ... parts; down all but those of the subtree, of 2^k - 1 sockets at level k."""
    network, part = full(sockets, 10 * GB, 1e-6), 10_000
    heights = [2**k - 1 for k in range(1, depth + 1)]
    tick = part / (10 * GB)
    own = sum(1e-6 + n * tick for n in heights)
    others = sum(1e-6 + (sockets - n) * tick for n in heights)
    for kind, expected in (("all_gather", own + others), ("reduce_scatter", own + others),
                           ("all_to_all", 2 * sum(1e-6 + n * (sockets - n) * tick for n in heights))):  # fmt: skip
        assert collective_seconds(network, kind, part * sockets, "tree") == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("sockets", [2, 5, 8])
def test_a_ring_all_to_all_sends_a_part_less_each_step(sockets: int) -> None:
    seconds = collective_seconds(ring(sockets, 10 * GB, 1e-6), "all_to_all", 10_000 * sockets, "ring")
    assert seconds == pytest.approx(sum(1e-6 + d * 1e-6 for d in range(1, sockets)), rel=1e-9)


def test_large_tensors_go_by_rings_and_small_ones_directly() -> None:
    network = switch(8, 100 * GB, 5e-6)
    assert collective_seconds(network, "all_reduce", 1000) == collective_seconds(network, "all_reduce", 1000, "direct")
    small, large = 1000, 1_000_000_000
    assert (collective_seconds(network, "all_reduce", small, "direct")
            < collective_seconds(network, "all_reduce", small, "ring"))
    ideal = 2 * 7 / 8 * large / (100 * GB)
    assert collective_seconds(network, "all_reduce", large, "ring") == pytest.approx(ideal, rel=0.05)


def background(sockets: int, nbytes: int) -> Messages:
    return tuple(Message(i, (i + 1) % sockets, nbytes) for i in range(sockets))


def test_background_traffic_slows_a_ring_by_its_share_of_the_cables() -> None:
    """Cables are shared packet by packet: while both have bytes to send, each has half of the bandwidth."""
    network, nbytes = ring(4, 10 * GB), 64_000_000
    messages = collective("all_reduce", "ring", 4, nbytes)
    alone = max(arrival_seconds(network, messages))
    endless = max(arrival_seconds(network, messages + background(4, 10 * nbytes))[: len(messages)])
    assert endless == pytest.approx(2 * alone, rel=0.02)
    extra = 8_000_000
    some = max(arrival_seconds(network, messages + background(4, extra))[: len(messages)])
    assert some == pytest.approx(alone + extra / (10 * GB), rel=0.02)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 9), st.integers(1, 500), st.data())
def test_every_socket_gets_every_part_once(sockets: int, nbytes: int, data: st.DataObject) -> None:
    """Bytes into every socket: what an all-reduce, gather or exchange needs, by any algorithm but the tree."""
    kind = data.draw(st.sampled_from(sorted(COLLECTIVES)))
    algorithm = data.draw(st.sampled_from(sorted(set(COLLECTIVES[kind]) - {"tree"})))
    messages, parts = collective(kind, algorithm, sockets, nbytes), shares(nbytes, sockets)
    received = [sum(m.nbytes for m in messages if m.dst == i) for i in range(sockets)]
    scattered = [(sockets - 1) * parts[i] for i in range(sockets)]
    gathered = [nbytes - parts[i] for i in range(sockets)]
    if kind == "reduce_scatter" and algorithm == "ring":  # part i ends up at socket i - 1
        assert sum(received) == sum(scattered)
    elif kind == "all_to_all" and algorithm == "ring":  # a part is handed on as often as its way is long
        assert all(r >= s for r, s in zip(received, scattered, strict=True))
    elif kind in ("reduce_scatter", "all_to_all"):
        assert received == scattered
    elif kind == "all_gather":
        assert sum(received) == sum(gathered) if algorithm == "ring" else received == gathered
    else:
        assert sum(received) == 2 * (sockets - 1) * nbytes


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(["ring", "full", "switch"]), st.integers(2, 4), st.integers(1, 400_000), st.data())
def test_both_kernels_agree_on_messages(topology: str, sockets: int, nbytes: int, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(COLLECTIVES)))
    algorithm = data.draw(st.sampled_from(sorted(COLLECTIVES[kind])))
    network = network_of(topology, sockets, 7.3 * GB, 3e-7)
    program = lower_messages(network, collective(kind, algorithm, sockets, nbytes), Fraction(10**9)).program
    fast, slow = compiled.run(program), reference.run(program)
    assert (fast.end == slow.end).all() and fast.finish == slow.finish


def test_nodes_reach_each_other_through_their_switches() -> None:
    network = nodes(switch(4, 100 * GB, 1e-6), 2, 25 * GB, 2e-6)
    assert network.sockets == 8 and network.switches == 3
    assert len(network.route(0, 3)) == 2 and len(network.route(0, 4)) == 4
    slow = arrival_seconds(network, (Message(0, 4, 25_000_000),))[0]
    assert slow == pytest.approx(1e-3 + 1e-6 + 4e-6, rel=0.02)
    rings = nodes(ring(2, 100 * GB), 2, 25 * GB)
    assert len(rings.route(0, 3)) == 2


def test_sockets_of_a_ring_forward() -> None:
    assert len(ring(6, GB).route(0, 3)) == 3
    assert ring(1, GB).cables == ()
    assert collective_seconds(ring(1, GB), "all_reduce", 100) == 0.0


def test_bad_networks_and_collectives_are_named() -> None:
    for make, words in (
        (lambda: Network(2, (Cable(0, 1, GB),)), "no way from socket 1 to 0"),
        (lambda: Network(2, (Cable(0, 5, GB),)), "nodes are 0 to 1"),
        (lambda: Network(2, (Cable(0, 1, 0.0), Cable(1, 0, GB))), "bandwidth above 0"),
        (lambda: network_of("star", 2, GB), "known: ring, full, switch"),
        (lambda: collective("all_broadcast", "ring", 2, 8), "known: all_reduce"),
        (lambda: collective("all_to_all", "star", 2, 8), "known: ring, tree, direct"),
        (lambda: collective("all_reduce", "ring", 2, 0), "at least 1 of each"),
        (lambda: lower_messages(ring(2, GB), (Message(0, 1, 8, (0,)),)), "only for earlier ones"),
        (lambda: lower_messages(ring(2, GB), (Message(0, 2, 8),)), "no socket 2"),
    ):
        with pytest.raises(BadInput, match=words):
            make()
