"""How kernels are compiled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accelsim import jit


@pytest.mark.parametrize("compile_", [jit.stamped(Path(__file__)), jit.inlined])
def test_constants_do_not_make_another_version(compile_: Callable[[Any], Any]) -> None:
    @compile_
    def twice(n: int, minus: bool) -> int:
        return -2 * n if minus else 2 * n

    @compile_
    def caller(n: int) -> int:
        return int(twice(3, False) + twice(n, True) + twice(n, minus=n > 1))

    assert caller(5) == 6 - 10 - 10
    assert len(twice.signatures) == 1


def test_functions_of_a_folder_that_cannot_be_written_to_are_compiled(tmp_path: Path) -> None:
    source = tmp_path / "kernel.py"
    source.write_text("def three():\n    return 3\n")
    names: dict[str, Any] = {}
    exec(compile(source.read_text(), "<nowhere>", "exec"), names)
    assert jit.stamped(source)(names["three"])() == 3
