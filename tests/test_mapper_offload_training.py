"""Activations that stay, leave or are computed anew: peaks and times against closed forms."""

from __future__ import annotations

from contextlib import suppress

import pytest
from support.experiments import rows_of

from accelsim.errors import BadInput, DoesNotFit
from accelsim.experiments.offloaded_training.cases import trained
from accelsim.mappers.offload import Model, Part, Work
from accelsim.mappers.offload.training import Trainer, train
from accelsim.mapping.tiers.problem import Tier

MB = 10**6
MADE, BETWEEN = 90 * MB, 10 * MB


def model(layers: int) -> Model:
    """0.1 ms of forward pass a layer at 10 TFLOP/s, 90 MB made of 10 MB."""
    return Model("m", (Part("layer", layers, MB, 0, Work(10**9, 0, MADE), Work(1, 0, 1), 1),), BETWEEN // 100)


def trainer(bandwidth: float = 1e13, gpu: int | None = None, static: int = 0) -> Trainer:
    return Trainer(Tier("gpu", gpu), Tier("ssd"), 1e13, bandwidth, bandwidth, static)


@pytest.mark.parametrize("layers", [2, 3, 5, 12])
def test_peaks(layers: int) -> None:
    each = MADE + BETWEEN
    kept, away = (train(model(layers), 1, 100, trainer(), how) for how in ("kept", "offloaded"))
    assert kept.activation_bytes == layers * each and kept.moved_bytes == 0
    assert away.activation_bytes == 2 * each and away.moved_bytes == (layers - 1) * each
    assert kept.seconds == pytest.approx(3 * layers * 1e-4)
    assert away.seconds == pytest.approx(kept.seconds, rel=0.3)


@pytest.mark.parametrize(("layers", "every"), [(4, 1), (4, 2), (9, 3), (10, 4), (6, 6)])
def test_checkpoints(layers: int, every: int) -> None:
    """Checkpoints of all groups, and the activations of the longest group beside those of the groups before it."""
    found = train(model(layers), 1, 100, trainer(), "checkpointed", every=every)
    groups = -(-layers // every)
    sizes = [min(every, layers - g * every) for g in range(groups)]
    peaks = [(g + 1) * BETWEEN + n * (MADE + BETWEEN) for g, n in enumerate(sizes)]
    forward = groups * BETWEEN + MADE + BETWEEN
    assert found.activation_bytes == max(*peaks, forward)
    assert found.seconds == pytest.approx(4 * layers * 1e-4)


def test_slow_storage_holds_up_what_needs_its_room() -> None:
    """At a fifth of the rate at which layers make bytes, a step takes as long as they take to leave and to return."""
    layers = 12
    rate = (MADE + BETWEEN) / 1e-4 / 5
    found = train(model(layers), 1, 100, trainer(rate), "offloaded")
    assert found.seconds == pytest.approx(2 * (layers - 1) * 5e-4, rel=0.15)
    fast = train(model(layers), 1, 100, trainer(rate * 10), "offloaded")
    assert fast.seconds == pytest.approx(3 * layers * 1e-4, rel=0.02)


def test_a_step_too_large_says_by_how_much() -> None:
    with pytest.raises(DoesNotFit, match="needs 1,250,000,000 bytes of gpu, 250,000,000 more than it has"):
        train(model(12), 1, 100, trainer(gpu=10**9, static=50 * MB))
    assert train(model(12), 1, 100, trainer(1e12, 10**9, 50 * MB), "offloaded").activation_bytes == 200 * MB
    with pytest.raises(BadInput, match="1 at least"):
        train(model(2), 0, 100, trainer())


@pytest.mark.parametrize(("layers", "room"), [(3, 130), (4, 250), (6, 250), (6, 339), (8, 1000)])
def test_without_a_way_out_what_finds_no_room_is_computed_anew(layers: int, room: int) -> None:
    """All inputs stay, and as many layers' activations as there is room for; every other forward pass runs again."""
    stay = min(layers, (room * MB - layers * BETWEEN) // MADE)
    found = train(model(layers), 1, 100, trainer(1.0, room * MB), "placed")
    assert found.seconds == pytest.approx((3 * layers + layers - stay) * 1e-4, rel=1e-6)


@pytest.mark.parametrize("rate", [1e11, 2e11, 5e11, 1e12])
@pytest.mark.parametrize("room", [250, 350, 600])
def test_activations_that_are_placed_take_least(rate: float, room: int) -> None:
    """No longer than under any rule for all layers alike, and shorter than all where some of each serve best."""
    found = train(model(5), 1, 100, trainer(rate, room * MB), "placed")
    rules: list[float] = []
    for how in ("kept", "checkpointed", "offloaded"):
        with suppress(DoesNotFit):
            rules.append(train(model(5), 1, 100, trainer(rate, room * MB), how).seconds)
    assert found.seconds <= min(rules) * (1 + 1e-6)
    assert found.activation_bytes <= room * MB
    if (rate, room) == (5e11, 250):
        assert found.seconds < 0.9 * min(rules) and found.moved_bytes > 0


def test_a_step_whose_activations_find_no_place_is_refused() -> None:
    with pytest.raises(DoesNotFit, match="gpu"):
        train(model(5), 1, 100, trainer(1e12, 100 * MB), "placed")


def test_published_rows_hold() -> None:
    found = rows_of("offloaded_training")
    assert [r.where for r in found if r.ok is False] == []
    assert sum(r.ok is True for r in found) == 16  # eight published, eight laws


@pytest.mark.parametrize(
    ("name", "factor"), [("SSDs write", 0.2), ("SSDs read", 0.2), ("GPU efficiency", 1.2), ("GPU efficiency", 0.8)]
)
def test_what_moves_a_step(name: str, factor: float) -> None:
    """SSDs have more than enough bandwidth, so that a fifth of it is less and 0.8 is not; the GPU's rate counts."""
    base, moved = (trained(4, 8192, "offloaded", 1, c).seconds for c in ((), ((name, factor),)))
    assert (moved > base) is (factor < 1)
    if name.startswith("SSDs"):
        assert trained(4, 8192, "offloaded", 1, ((name, 0.8),)).seconds == pytest.approx(base, rel=0.01)
