"""From exceptions to one message on standard error and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import NoReturn, ParamSpec, TypeVar

import typer

from ..errors import AccelsimError
from . import INTERRUPTED

P = ParamSpec("P")
R = TypeVar("R")

UNFORESEEN = 70  # EX_SOFTWARE of sysexits.h
DEBUG = "ACCELSIM_DEBUG"


def guarded(command: Callable[P, R]) -> Callable[P, R]:
    """The command, with errors told in one message. With the variable ACCELSIM_DEBUG set, tracebacks are shown."""

    @wraps(command)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except AccelsimError as error:
            if os.environ.get(DEBUG):
                raise
            fail(str(error), error.exit_code)
        except KeyboardInterrupt:
            fail("interrupted", INTERRUPTED)
        except BrokenPipeError:
            # The reader of our output has gone; nothing is left to be flushed at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except Exception as error:
            if isinstance(error, typer.Exit | typer.Abort) or os.environ.get(DEBUG):
                raise
            what = f"{type(error).__name__}: {error}"
            fail(f"accelsim did not foresee this: {what}\nIt is a bug. Please report it, with the traceback that "
                 f"{DEBUG}=1 shows.", UNFORESEEN)

    return call


def fail(message: str, code: int) -> NoReturn:
    """Print a message to standard error and leave with an exit code."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(code) from None
