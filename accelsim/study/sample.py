"""Sample: how points are drawn from the axes of a sweep that is too large for its whole grid."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any

from ..errors import Problem, SpecError
from .span import plain

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

METHODS = ("random", "latin_hypercube", "sobol")
MOST = 1_000_000
TRIES = 100
"""Draws for each point wanted, before a sample ends with fewer."""


@dataclass(frozen=True)
class Sample:
    """So many different points, drawn by a method from a seed; the same seed draws the same points.

    ``random`` and ``sobol`` draw on where a condition refuses a point or it comes twice, and a larger sample begins
    with the points of a smaller one. A Latin hypercube is drawn once, and what is refused or comes twice is missing.
    """

    method: str
    points: int
    seed: int = 0

    def problems(self, where: str) -> list[Problem]:
        found = []
        if self.method not in METHODS:
            found.append(Problem(where, f"no method '{self.method}'", ", ".join(METHODS)))
        if not isinstance(self.points, int) or isinstance(self.points, bool) or not 1 <= self.points <= MOST:
            found.append(Problem(where, f"points: {self.points}", f"a whole number from 1 to {MOST}"))
        if not isinstance(self.seed, int) or isinstance(self.seed, bool) or self.seed < 0:
            found.append(Problem(where, f"seed: {self.seed}", "a whole number from 0 on"))
        return found

    @classmethod
    def parse(cls, text: str) -> Sample:
        """``METHOD:POINTS`` or ``METHOD:POINTS:SEED``. Raises SpecError."""
        parts = [plain(part) for part in text.split(":")]
        if len(parts) not in (2, 3):
            hint = "write METHOD:POINTS or METHOD:POINTS:SEED, such as sobol:64"
            raise SpecError([Problem(f"--sample {text}", "not a sample", hint)])
        sample = cls(str(parts[0]), *parts[1:])  # type: ignore[arg-type]
        if problems := sample.problems(f"--sample {text}"):
            raise SpecError(problems)
        return sample

    def draws(self, dimensions: int) -> Iterator[list[float]]:
        """Points of the unit cube, in the order in which they are tried."""
        if self.method == "latin_hypercube":
            yield from self._generator("LatinHypercube", dimensions).random(self.points).tolist()
            return
        left = TRIES * self.points
        size = 1 << max(0, self.points - 1).bit_length()
        draw = self._sobol(dimensions) if self.method == "sobol" else self._random(dimensions)
        while left > 0:
            yield from draw(size)[:left].tolist()
            left -= size

    def _random(self, dimensions: int) -> Any:
        import numpy as np

        generator = np.random.default_rng(self.seed)
        return lambda size: generator.random((size, dimensions))

    def _sobol(self, dimensions: int) -> Any:
        generator = self._generator("Sobol", dimensions)

        def draw(size: int) -> npt.NDArray[np.float64]:
            with warnings.catch_warnings():  # of a number that is no power of two, which is the user's choice
                warnings.simplefilter("ignore", UserWarning)
                drawn: npt.NDArray[np.float64] = generator.random(size)
            return drawn

        return draw

    def _generator(self, name: str, dimensions: int) -> Any:
        import numpy as np
        from scipy.stats import qmc

        kind = getattr(qmc, name)
        keyword = "rng" if "rng" in signature(kind).parameters else "seed"  # renamed in SciPy 1.15
        return kind(dimensions, **{keyword: np.random.default_rng(self.seed)})
