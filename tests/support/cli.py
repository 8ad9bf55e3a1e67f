"""Running the command line inside the test's process."""

from __future__ import annotations

from dataclasses import dataclass

from typer.testing import CliRunner


@dataclass(frozen=True)
class Ran:
    """Exit code and everything printed, to either stream."""

    code: int
    output: str


def accelsim(*arguments: object) -> Ran:
    """Run ``accelsim`` with these arguments. An exception that leaves the command line is a failure of the test."""
    from accelsim.cli.app import app

    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ran(result.exit_code, result.output)
