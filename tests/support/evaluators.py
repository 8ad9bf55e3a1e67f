"""Evaluation functions for tests of the study, importable by its worker processes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from accelsim.errors import BadInput, DoesNotFit
from accelsim.study import Point, Scalar


def identify(point: Point) -> str:
    return repr(point)


def number(point: Point, name: str) -> int:
    return int(point.settings()[name])


def arithmetic(point: Point) -> dict[str, Scalar]:
    """latency 1000 / a + b, energy a + b."""
    a, b = number(point, "arch.a"), number(point, "arch.b")
    return {"latency_s": 1000 / a + b, "energy_J": a + b, "bottleneck": "a" if a < b else "b"}


def slow(point: Point) -> dict[str, Scalar]:
    time.sleep(0.05)
    return arithmetic(point)


def failing(point: Point) -> dict[str, Scalar]:
    a = number(point, "arch.a")
    if a == 1:
        raise DoesNotFit("sram holds 1 B, tile needs 2 B")
    if a == 2:
        raise BadInput("no such model")
    if a == 3:
        raise ZeroDivisionError("a bug")
    return arithmetic(point)


def lethal(point: Point) -> dict[str, Scalar]:
    """The point a = 3, b = 10 always kills its worker."""
    if number(point, "arch.a") == 3 and number(point, "arch.b") == 10:
        os.kill(os.getpid(), signal.SIGKILL)
    return arithmetic(point)


def lethal_once(point: Point) -> dict[str, Scalar]:
    """The point a = 3, b = 10 kills its worker the first time; a file in the folder named by ``arch`` remembers."""
    mark = Path(point.arch) / "killed"
    if number(point, "arch.a") == 3 and number(point, "arch.b") == 10 and not mark.exists():
        mark.write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    return arithmetic(point)


def tell_and_sleep(folder: str) -> None:
    """Leave a file named by the process, and stay."""
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(60)


def printing(point: Point) -> dict[str, Scalar]:
    print("a stray line on standard output")
    return arithmetic(point)


def stuck(point: Point) -> dict[str, Scalar]:
    """Writes its process id into the folder named by ``arch``, then never ends."""
    (Path(point.arch) / f"pid{os.getpid()}").write_text("")
    while True:
        time.sleep(1)
