"""What all tests share: random numbers that do not depend on which tests ran before; kernels that are compiled once."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

MANY_TESTS = 1000
"""From so many on, the kernels that take longest to compile are needed anyway."""


@pytest.fixture(autouse=True)
def numbers_of_its_own(request: pytest.FixtureRequest) -> None:
    """Seed a module's generator `RNG`, if it has one, by the name of the test."""
    rng = getattr(request.module, "RNG", None)
    if isinstance(rng, np.random.Generator):
        seed = zlib.crc32(request.node.name.encode())
        rng.bit_generator.state = np.random.default_rng(seed).bit_generator.state


def pytest_collection_finish(session: pytest.Session) -> None:
    """In a worker of pytest-xdist: compile a share of the kernels that the others then find on disk."""
    worker = getattr(session.config, "workerinput", None)
    if worker is not None and len(session.items) >= MANY_TESTS:
        from support.kernels_ahead import compile_ahead

        compile_ahead(int(worker["workerid"].removeprefix("gw")), int(worker["workercount"]))
