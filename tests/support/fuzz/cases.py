"""Cases by family and number: what a file of that kind holds after the mutations that the number seeds."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from .seeds import models, texts, tree
from .text import mutated_bytes, mutated_text, mutated_tree, single_changes, with_other_number

FAMILIES = ("machine", "sweep", "onnx", "mapping", "constraints", "text", "config", "stream", "phases")


@dataclass(frozen=True)
class Case:
    """A file that may be wrong in any way. `family` and `number` make it again."""

    family: str
    number: int
    name: str
    content: bytes

    def __str__(self) -> str:
        return f"{self.family}:{self.number} ({self.name})"


def case(family: str, number: int) -> Case:
    """The case of that number; equal in every process."""
    rng = random.Random(f"{family}:{number}")
    if family == "onnx":
        from .protobuf import mutated_model

        # The small graphs go everywhere; the networks are slower, and alike.
        small = [n for n in models() if len(models()[n].graph.node) < 20]
        name = _drawn(small if rng.random() < 0.8 else models(), number)
        return Case(family, number, f"{name}.onnx", mutated_model(models()[name], rng))
    files = texts(family)
    own = [n for n in files if n in _FIRST.get(family, ())]
    name = _drawn(own if own and rng.random() < 0.6 else files, number)
    return Case(family, number, name, _content(files, name, number, rng))


def _content(files: Mapping[str, str], name: str, number: int, rng: random.Random) -> bytes:
    text = files[name]
    how = rng.random()
    if how < 0.07:
        return mutated_bytes(text.encode(), rng)
    if how < 0.35:
        return with_other_number(text, rng).encode()
    tagged = "\n  - !" in text  # a plain tree knows nothing of tags
    if how < 0.65 and not name.endswith((".csv", ".cfg")) and not tagged:
        return mutated_tree(tree(text), rng).encode()
    return mutated_text(text, rng, files[_drawn(files, -number)]).encode("utf-8", "surrogatepass")


def _drawn(names: Iterable[str], number: int) -> str:
    """One of the names; a name that comes or goes changes no case but those that draw it."""
    return max(names, key=lambda name: zlib.crc32(f"{number} {name}".encode()))


def single_change_cases(family: str) -> Iterator[Case]:
    """The small files of a family with one value gone or another one, one case after the other."""
    for name in _FIRST[family]:
        if not name.endswith((".csv", ".cfg")):
            for number, text in enumerate(single_changes(tree(texts(family)[name]))):
                yield Case(family, number, name, text.encode())


_FIRST = {

    "text": ("chain.yaml", "attention.yaml", "running.yaml", "tiny.yaml", "zigzag.yaml", "convolutions.csv",
             "products.csv"),
    "config": ("tiny.json",),
    "sweep": ("sweep.yaml",),
    "mapping": ("piped.yaml",),
    "constraints": ("constraints.yaml",),
    "stream": ("stream.yaml",),
    "phases": ("phases.yaml",),
    "machine": ("small.yaml", "tiered.yaml", "variant.yaml", "scalesim.cfg", "table.csv"),
}  # fmt: skip
"""Small files, whose models are small enough to be run."""
