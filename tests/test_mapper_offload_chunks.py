"""Training in chunks and by two forward passes: bytes, memory and times against closed forms, and what does not fit."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.errors import BadInput, DoesNotFit
from accelsim.experiments.offloaded_training.schedules import in_chunks, two_passes
from accelsim.mappers.offload import Model, Part, Work
from accelsim.mappers.offload.chunks import ChunkTrainer, problem_of, train_in_chunks
from accelsim.mappers.offload.zeroth import ZerothTrainer, train_zeroth
from accelsim.mapping.tiers.problem import Tier

MB = 10**6
WEIGHTS, MADE, BETWEEN = 100 * MB, 30 * MB, 10 * MB


def model(layers: int) -> Model:
    """0.1 ms of forward pass a layer at 10 TFLOP/s, 30 MB made of 10 MB."""
    return Model("m", (Part("layer", layers, WEIGHTS, 0, Work(10**9, 0, MADE), Work(1, 0, 1), 1),), BETWEEN // 100)


def trainer(near: int, far: int = 10**10, link: float = 1e11) -> ChunkTrainer:
    return ChunkTrainer(near, far, 1e13, link, link, 1e12, 1e11)


def test_chunks_that_all_stay() -> None:
    """28 bytes a weight through the GPU's memory, and four forward passes."""
    found = train_in_chunks(model(4), 1, 100, trainer(10**10), WEIGHTS)
    assert (found.loaded, found.stored, found.near_updates, found.chunks) == (0, 0, 4, 4)
    assert found.seconds == pytest.approx(4 * (4e-4 + 14 * WEIGHTS / 1e12), rel=1e-4)
    assert found.near_bytes == 4 * 7 * WEIGHTS + 4 * BETWEEN + MADE


def test_chunks_that_are_updated_on_the_host() -> None:
    """Two chunks of weights near and slow links: weights come twice at the most, and gradients leave once."""
    near = 3 * WEIGHTS + 4 * BETWEEN + MADE + MB
    found = train_in_chunks(model(4), 1, 100, trainer(near), WEIGHTS)
    assert found.near_updates == 0 and found.near_bytes <= near
    assert found.stored == 4 * WEIGHTS and 4 * WEIGHTS <= found.loaded <= 8 * WEIGHTS
    assert found.seconds >= 4 * (4e-4 + 14 * WEIGHTS / 1e11) * 0.999
    assert found.bound <= found.seconds * 1.0001


def test_chunks_hold_whole_layers() -> None:
    """Chunks of two and a half layers hold two, and are as large all the same."""
    problem = problem_of(model(5), 1, 100, trainer(10**11), 5 * WEIGHTS // 2)
    assert len(problem.items) == 6 and problem.items["weights 0"].nbytes == 5 * WEIGHTS // 2
    assert problem.items["states 2"].nbytes == 6 * problem.items["weights 2"].nbytes
    assert len(problem.steps) == 5 + 5 + 3
    with pytest.raises(BadInput, match="100,000,000 bytes of weights, and a chunk 99,999,999"):
        problem_of(model(2), 1, 100, trainer(10**11), WEIGHTS - 1)


def test_chunks_that_fit_nowhere() -> None:
    """Both tiers together hold 14 bytes a weight, no less."""
    with pytest.raises(DoesNotFit):
        train_in_chunks(model(4), 1, 100, trainer(9 * WEIGHTS, 18 * WEIGHTS), WEIGHTS)


def test_less_memory_takes_longer() -> None:
    found = [in_chunks(6, gigabytes, 2).seconds for gigabytes in (16, 24, 64, 120)]
    assert found == sorted(found, reverse=True) and found[0] > 1.5 * found[-1]


@pytest.mark.parametrize(
    ("name", "moves"), [("optimiser on the host", True), ("GPU peak", True), ("GPU memory bandwidth", False)]
)
def test_what_moves_a_step_in_chunks(name: str, moves: bool) -> None:
    """With 16 GB and two layers in a chunk the optimiser runs on the host alone."""
    base, more, less = (in_chunks(6, 16, 2, c).seconds for c in ((), ((name, 1.2),), ((name, 0.8),)))
    assert (more < 0.98 * base and less > 1.02 * base) if moves else more == less == base


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.integers(4, 9), st.integers(1, 40), st.floats(1e10, 1e13), st.booleans())
def test_two_forward_passes(layers: int, batch: int, link: float, together: bool) -> None:
    """A step is as long as the longer of the link and of computing, of each kind of visit; memory is three blocks."""
    on = ZerothTrainer(Tier("near"), Tier("far"), 1e13, 1e12, link, link)
    found = train_zeroth(model(layers), batch, 100, on, together=together)
    weights, passes = layers * WEIGHTS, 1 if together else 3
    assert found.loaded == passes * weights and found.stored == weights
    move, forward, moved = WEIGHTS / link, batch * 1e-4, 2 * WEIGHTS / 1e12
    kinds = [2 * forward + 4 * moved] if together else [forward + moved, forward + moved, moved]
    least = sum(layers * max(move, k) for k in kinds)
    assert least * 0.999 <= found.seconds <= least + 4 * (move + max(kinds))
    made = batch * (MADE + (2 if together else 1) * BETWEEN)
    most = made + 3 * WEIGHTS
    assert found.near_bytes == most if together else most - WEIGHTS <= found.near_bytes <= most


def test_two_passes_of_a_model_by_hand() -> None:
    once = two_passes(48, 1)
    assert once.seconds == pytest.approx(48 * 2 * 12 * 8192**2 / 25e9, rel=1e-6)  # the link alone
    assert two_passes(48, 1, together=False).seconds == pytest.approx(3 * once.seconds, rel=1e-6)
    assert two_passes(6, 1).near_bytes == once.near_bytes  # three blocks, however deep


@pytest.mark.parametrize(
    ("name", "batch", "moves"),
    [("host link", 1, True), ("GPU peak", 1, False), ("host link", 16, False), ("GPU efficiency", 16, True)],
)
def test_what_moves_two_passes(name: str, batch: int, moves: bool) -> None:
    base, more, less = (two_passes(6, batch, changes=c).seconds for c in ((), ((name, 1.2),), ((name, 0.8),)))
    assert (more < 0.9 * base and less > 1.1 * base) if moves else more == less == base


def test_what_cannot_be() -> None:
    on = ZerothTrainer(Tier("near", 3 * WEIGHTS), Tier("far"), 1e13, 1e12, 1e11, 1e11)
    with pytest.raises(DoesNotFit, match=r"350,000,000 bytes of near are needed, 50,000,000 more"):
        train_zeroth(model(5), 1, 100, on)
    with pytest.raises(BadInput, match="blocks 4, not 3"):
        train_zeroth(model(3), 1, 100, on)
