"""Training outside of GPU memory: weights from slower memory, activations on SSDs, chunks, two forward passes.

Of chunks and of training by forward passes alone no figure of a paper stands here: rows are held against laws of bytes
and operations, which their source says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..loader import Row, beside, shown, table
from .cases import efficiency, gpt, trained, window
from .schedules import in_chunks, two_passes

LAYERS, WIDTH = 4, 8192
EVERY = (1, 2, 4, 8, 16)
CHUNKED = ((16, 2), (24, 1), (24, 2), (64, 1), (64, 2))
"""GB of GPU memory, and layers in a chunk."""


def saved(layers: int = LAYERS, hidden: int = WIDTH) -> float:
    """Share of the activations' peak that is not on the GPU where they leave for SSDs."""
    kept, away = (trained(layers, hidden, how).activation_bytes for how in ("kept", "offloaded"))
    return 1 - away / kept


def rows() -> Iterator[Row]:
    """Efficiency by bandwidth, memory and time with SSDs and with checkpoints, and windows of weights."""
    values = [
        efficiency(70e9, 1),
        efficiency(70e9, 4),
        efficiency(16e9, 1),
        saved(),
        trained(LAYERS, WIDTH, "offloaded").seconds / trained(LAYERS, WIDTH, "kept").seconds,
        trained(16, WIDTH, "checkpointed").seconds / trained(16, WIDTH, "kept").seconds,
        window(0.8),
        window(1.25),
    ]
    for r, value in zip(table(__package__ or "", "published.csv"), values, strict=True):
        yield beside(r, value)
    yield from _chunks_and_passes()
    for layers in (3, 8, 16):
        yield shown("activation memory saved", f"GPT of {layers} layers of width {WIDTH}, activations on SSDs",
                     saved(layers), "share", "two layers' activations stay: one that runs, one that moves")  # fmt: skip
    whole = trained(16, WIDTH, "kept").activation_bytes
    for every in EVERY:
        found = trained(16, WIDTH, "checkpointed", every)
        yield shown("activation memory", f"GPT of 16 layers, a checkpoint every {every}", found.activation_bytes / 1e9,
                     "GB", f"{found.activation_bytes / whole:.3g} of what is kept without")  # fmt: skip


def _chunks_and_passes() -> Iterator[Row]:
    deep = gpt(48, WIDTH)
    block = deep.parts[0].weight_bytes
    all_near, once, apart = in_chunks(6, 120.0), two_passes(48, 1), two_passes(48, 1, together=False)
    values = [
        all_near.seconds,
        float(all_near.loaded + all_near.stored),
        once.loaded / deep.weight_bytes,
        once.stored / deep.weight_bytes,
        apart.loaded / deep.weight_bytes,
        once.near_bytes / block,
        once.seconds,
        two_passes(48, 8).seconds,
    ]
    for r, value in zip(table(__package__ or "", "laws.csv"), values, strict=True):
        yield beside(r, value)
    for gigabytes, each in CHUNKED:
        found = in_chunks(6, gigabytes, each)
        note = (f"no placement takes less than {found.bound:.4g}; {found.loaded / 1e9:.4g} GB loaded and "
                f"{found.stored / 1e9:.4g} stored; {found.near_updates} of {found.chunks} chunks updated on the GPU")
        where = f"6 layers, {gigabytes} GB of GPU memory, {each} in a chunk"
        yield shown("step in chunks", where, found.seconds, "s", note)
    for batch in (1, 2, 4, 8, 16):
        ours, other = two_passes(48, batch), two_passes(48, batch, together=False)
        yield shown("two forward passes apart over together", f"48 layers, {batch} sequences",
                     other.seconds / ours.seconds, "", f"{ours.seconds:.4g} s a step together")  # fmt: skip


def figure(rows: Sequence[Row]) -> dict[str, object]:
    """Activation memory over the layers between checkpoints."""
    found = [r for r in rows if r.quantity == "activation memory"]
    data = [{"type": "scatter", "x": list(EVERY), "y": [r.accelsim for r in found]}]
    return {"data": data, "layout": {"xaxis": {"title": "layers between checkpoints"}, "yaxis": {"title": "GB"}}}
