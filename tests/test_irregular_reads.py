"""Reads of host memory by requests, by gathering and whole: closed forms, and what moves each way's time."""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.errors import BadInput
from accelsim.experiments.irregular_reads import ways
from accelsim.experiments.irregular_reads.experiment import throughput
from accelsim.experiments.irregular_reads.ways import C2C, PCIE, by_device, by_host, by_pages, host_from, pages_of
from accelsim.experiments.loader import table
from accelsim.mappers.offload.requests import Gatherer, Reader, copied


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    st.integers(1, 1500), st.integers(1, 600), st.integers(0, 64), st.sampled_from([16, 32, 64]), st.integers(1, 4),
    st.integers(1, 80), st.floats(1e-7, 1e-5), st.floats(1e8, 1e11),
)  # fmt: skip
def test_reads_take_what_the_link_and_the_latency_ask_for(
    rows: int, row: int, header: int, sector: int, sectors: int, outstanding: int, latency: float, bandwidth: float
) -> None:
    """At least the larger of both limits, at most one round of requests more than their sum."""
    on = Reader(bandwidth, header, sector, sector * sectors, outstanding, latency)
    number, size = on.requests(row)
    assert number * size >= row and size <= on.largest and size % sector == 0 and number == ceil(row / on.largest)
    found = on.read(rows, row)
    assert found.link_bytes == rows * number * (size + header)
    link = found.link_bytes / bandwidth
    rounds = ceil(rows * number / outstanding) * (latency + (size + header) / bandwidth)
    slack = 1e-9 + rows * number * 1e-12
    assert max(link, rounds) <= found.seconds + slack
    assert found.seconds <= link + rounds + latency + slack


def test_published_laws_of_requests() -> None:
    for r in table("accelsim.experiments.irregular_reads", "laws.csv"):
        assert throughput(r["link"], int(r["row"])) / 1e9 == pytest.approx(float(r["value"]), rel=0.01)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.integers(1, 5000), st.integers(1, 4096), st.integers(1000, 10**6), st.floats(0, 1e-5), st.floats(0, 1e-6))
def test_gathering_is_a_double_buffer(rows: int, row: int, buffer: int, call: float, each: float) -> None:
    """The longest of its stages, and of the others one buffer's time: the first to fill, the last to be sent."""
    host = Gatherer(each, 2e10, buffer, call, 1e10)
    buffers = ceil(rows * row / buffer)
    parts = (rows * (each + row / 2e10), buffers * call, rows * row / 1e10)
    found = host.read(rows, row).seconds
    slack = 1e-9 * buffers
    assert max(parts) <= found + slack
    assert found <= max(parts) + 2 * sum(parts) / buffers + slack


def test_a_copy_is_its_call_and_its_bytes() -> None:
    assert copied(10**9, 1e10, 8e-6).seconds == pytest.approx(0.1 + 8e-6)


def test_pages_that_are_touched() -> None:
    assert pages_of(1, 64, 65536) == 1
    assert pages_of(2**30 // 4096, 4096, 65536) == 2**14  # all rows, all pages
    assert pages_of(1000, 65536, 65536) == 1000
    fewer = by_pages(PCIE, 4096, 64)
    assert fewer > 4000 * 2e-6 > by_device(PCIE, 4096, 64)  # a fault each


def test_few_rows_are_the_devices_and_large_ones_the_hosts() -> None:
    assert by_device(PCIE, 64, 64) < 3e-6 < 8e-6 < by_host(PCIE, 64, 64)
    assert host_from(PCIE, 4096) > 512
    assert all(by_device(C2C, 4096, row) < by_host(C2C, 4096, row) for row in (32, 1024, 32768))
    assert by_host(PCIE, 65536, 8192) < by_device(PCIE, 65536, 8192)


@pytest.mark.parametrize(
    ("name", "row", "moves"),
    [("outstanding", 32, True), ("latency", 32, True), ("bandwidth", 32, False), ("bandwidth", 128, True),
     ("outstanding", 128, False), ("latency", 128, False), ("header", 128, True), ("row", 32, False)],
)  # fmt: skip
def test_what_moves_reads_by_the_device(name: str, row: int, moves: bool) -> None:
    """Requests on the way limit small reads over PCIe, the link large ones (with 20 % more latency still)."""
    base, more, less = (by_device(PCIE, 50_000, row, c) for c in ((), ((name, 1.2),), ((name, 0.8),)))
    if moves:
        better, worse = (less, more) if name in ("latency", "header") else (more, less)
        assert better < 0.985 * base and worse > 1.015 * base
    else:
        assert more == pytest.approx(base, rel=0.01) and less == pytest.approx(base, rel=0.01)


@pytest.mark.parametrize(
    ("name", "row", "moves"),
    [("row", 64, True), ("copying", 64, True), ("long transfers", 64, False), ("long transfers", 65536, True)],
)
def test_what_moves_the_host(name: str, row: int, moves: bool) -> None:
    base, more, less = (by_host(PCIE, 2**27 // row, row, c) for c in ((), ((name, 1.2),), ((name, 0.8),)))
    assert (abs(more / base - 1) > 0.005 and (more - base) * (less - base) < 0) is moves


def test_what_cannot_be() -> None:
    with pytest.raises(BadInput, match="a multiple of them: 100 bytes in sectors of 32"):
        Reader(1e9, 0, 32, 100, 8, 1e-6)
    with pytest.raises(BadInput, match="a latency"):
        Reader(1e9, 0, 32, 64, 0, 1e-6)
    with pytest.raises(BadInput, match="0 rows of 64 bytes"):
        ways.reader(PCIE).read(0, 64)
    with pytest.raises(BadInput, match="rates and a buffer"):
        Gatherer(0.0, 0.0, 1, 0.0, 1.0)
