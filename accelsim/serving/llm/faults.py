"""Faults: what is wrong with a scenario beyond its form, by the path of the value that is to blame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ...errors import BadInput, Problem, SpecError


class ScenarioError(BadInput):
    """A value of a scenario that goes with no other, with the model or with the machine.

    Attributes:
        path: of the value in a scenario file, such as ``parallel.tensor``.
        what: is wrong.
    """

    def __init__(self, path: str, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path, self.what = path, what


@contextmanager
def blamed(path: str) -> Iterator[None]:
    """What is wrong with an input within the block is the fault of this value, unless it says where it stands."""
    try:
        yield
    except BadInput as error:
        if _says_where(error):
            raise
        raise ScenarioError(path, str(error)) from error


@contextmanager
def located(places: Mapping[str, str]) -> Iterator[None]:
    """Within the block, faults of a scenario are told with where they stand in its file.

    Args:
        places: ``file:line`` by path, the file itself by the empty one; none: there is no file.
    """
    try:
        yield
    except BadInput as error:
        if not places or (_says_where(error) and not isinstance(error, ScenarioError)):
            raise
        path, what = (error.path, error.what) if isinstance(error, ScenarioError) else ("", str(error))
        around = path
        while around not in places:
            around = around.rpartition(".")[0]
        raise SpecError([Problem(f"{places[around]}: {path}" if path else places[""], what)]) from error


def _says_where(error: BadInput) -> bool:
    return isinstance(error, ScenarioError) or (
        isinstance(error, SpecError) and all(":" in problem.where for problem in error.problems)
    )
