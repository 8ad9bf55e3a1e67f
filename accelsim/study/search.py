"""Search: how points are chosen from the results of earlier ones.

What a search asks for depends on the sweep, the seed and the outcomes alone, never on the time they take or on the
number of workers: points come in batches of a fixed size, and every batch is told whole before the next. So a search
that was interrupted is taken up by going through it once more, with the outcomes that the store holds.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import Problem, SpecError
from .sample import MOST
from .span import plain

METHODS = ("nsga2", "tpe", "random")


@dataclass(frozen=True)
class Search:
    """So many different points for every machine and model, by a method from a seed.

    ``nsga2`` breeds batches from the best so far (several objectives; see `breeding`), ``tpe`` draws where results were
    good (one objective or several), ``random`` looks at no result. The same seed asks for the same points as long as
    results are the same.
    """

    method: str
    points: int
    seed: int = 0
    batch: int = 20
    """Points that are asked for at once, from the results of all before; the first ones are drawn at random."""
    seconds: float = 0.0
    """Begin no further batch after so long, the time of all machines and models together; 0 sets no limit. With one,
    results depend on the speed of this computer."""
    start: str = ""
    """Folder of an earlier study of the same axes whose front is tried first."""

    def problems(self, where: str) -> list[Problem]:
        """What is wrong with the values."""
        found = []
        if self.method not in METHODS:
            found.append(Problem(where, f"no method '{self.method}'", ", ".join(METHODS)))
        for name, value, least in (("points", self.points, 1), ("seed", self.seed, 0), ("batch", self.batch, 2)):
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= MOST:
                found.append(Problem(where, f"{name}: {value}", f"a whole number from {least} to {MOST}"))
        if isinstance(self.seconds, bool) or not isinstance(self.seconds, int | float) or self.seconds < 0:
            found.append(Problem(where, f"seconds: {self.seconds}", "a number from 0 on"))
        if not isinstance(self.start, str):
            found.append(Problem(where, f"start: {self.start}", "the folder of an earlier study"))
        return found

    @classmethod
    def parse(cls, text: str) -> Search:
        """``METHOD:POINTS`` or ``METHOD:POINTS:SEED``. Raises SpecError."""
        parts = [plain(part) for part in text.split(":")]
        if len(parts) not in (2, 3):
            hint = "write METHOD:POINTS or METHOD:POINTS:SEED, such as nsga2:500"
            raise SpecError([Problem(f"--search {text}", "not a search", hint)])
        search = cls(str(parts[0]), *parts[1:])  # type: ignore[arg-type]
        if problems := search.problems(f"--search {text}"):
            raise SpecError(problems)
        return search
