"""The order of settings that are texts: by size where they are quantities, else as the sweep lists them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .dimensions import UNKNOWN, quantity, told
from .row import Row
from .sweep import Sweep

UNSET = "not set"
"""What stands for a setting that an axis leaves out, or a model does not take."""
MOST_TEXTS = 12
"""Different sizes up to which each is drawn as a text of its own."""


def ordered_texts(sweep: Sweep, rows: Sequence[Row]) -> dict[str, list[str]]:
    """The varying settings that hold texts or are left out at some points, each with its values in order."""
    found: dict[str, list[str]] = {}
    listed = {name: [step[i] for step in axis.steps] for axis in sweep.axes for i, name in enumerate(axis.names)}
    for name in sweep.parameters():
        used = dict.fromkeys(row.settings.get(name, UNSET) for row in rows)
        if not all(isinstance(value, str) for value in used):
            continue
        names = [v for v in listed.get(name, ()) if v in used] or [v for v in used if v != UNSET]
        texts = list(dict.fromkeys(map(str, names)))
        sizes = {text: quantity(text) for text in texts}
        if name not in listed or not listed[name]:
            amounts = {text: size[0] for text, size in sizes.items() if size}
            if len(amounts) == len(texts):
                texts.sort(key=amounts.__getitem__)
        found[name] = [*texts, *([UNSET] if UNSET in used else [])]
    return found


def measured(texts: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Settings of so many different sizes, as a sample has, that they are drawn as numbers; each with its SI unit."""
    found = {}
    for name, values in texts.items():
        amounts = [quantity(value) for value in values if value != UNSET]
        units = {amount[1] if amount else UNKNOWN for amount in amounts}
        if len(amounts) > MOST_TEXTS and len(units) == 1 and (unit := units.pop()):
            found[name] = f"{name} [{told(unit)}]"
    return found
