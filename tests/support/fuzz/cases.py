"""Cases by family and number: what a file of that kind holds after the mutations that the number seeds."""

from __future__ import annotations

import random
from dataclasses import dataclass

from .seeds import models, texts, tree
from .text import mutated_bytes, mutated_text, mutated_tree

FAMILIES = ("machine", "sweep", "onnx", "mapping", "constraints", "text", "config")


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
        names = list(models())
        small = [n for n in names if len(models()[n].graph.node) < 20]
        name = rng.choice(small if rng.random() < 0.8 else names)
        return Case(family, number, f"{name}.onnx", mutated_model(models()[name], rng))
    files = texts(family)
    own = [n for n in files if n in _FIRST.get(family, ())]
    name = rng.choice(own if own and rng.random() < 0.6 else list(files))
    text = files[name]
    how = rng.random()
    if how < 0.1:
        return Case(family, number, name, mutated_bytes(text.encode(), rng))
    if how < 0.5 and not name.endswith(".csv"):
        return Case(family, number, name, mutated_tree(tree(text), rng).encode())
    other = files[rng.choice(list(files))]
    return Case(family, number, name, mutated_text(text, rng, other).encode("utf-8", "surrogatepass"))


_FIRST = {
    "text": ("chain.yaml", "attention.yaml", "running.yaml", "tiny.yaml", "zigzag.yaml", "convolutions.csv", "products.csv"),
    "config": ("tiny.json",),
}  # fmt: skip
"""Small files, whose models are small enough to be run."""
