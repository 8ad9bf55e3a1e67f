"""Mutated files through the command line, in a process of its own that notes every file it writes.

python -m support.fuzz.commands FOLDER CASES

FOLDER gets ``in`` with the files, ``out`` for results, and is the working directory. Prints one JSON list of what each
command did: its exit code, its output, and the paths it wrote, made or removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from .cases import FAMILIES, case

CHANGES = {
    "os.mkdir": 1, "os.rename": 2, "os.remove": 1, "os.rmdir": 1, "os.symlink": 2, "os.link": 2, "os.truncate": 1,
    "os.chmod": 1, "os.utime": 1, "sqlite3.connect": 1,
}  # fmt: skip
"""Audit events that change files, and how many of their arguments are paths."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Watch:
    """The paths that this process changes while `on`."""

    def __init__(self) -> None:
        self.on = False
        self.paths: list[str] = []
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING:
            self.note(arguments[:1])
        elif event in CHANGES:
            self.note(arguments[: CHANGES[event]])

    def note(self, paths: tuple[Any, ...]) -> None:
        for path in paths:
            if isinstance(path, str | bytes | os.PathLike):
                plain = os.fsdecode(path).removeprefix("file:").partition("?")[0]  # SQLite's are URIs
                self.paths.append(os.path.realpath(plain))


def command(number: int, folder: Path) -> list[str]:
    """Write the file of a case, and the command that reads it."""
    made = case(FAMILIES[number % len(FAMILIES)], number)
    file = folder / "in" / f"{number}-{made.name}"
    file.write_bytes(made.content)
    out, small, chain = folder / "out", folder / "in" / "small.yaml", folder / "in" / "chain.yaml"
    run = ["run", str(small), str(chain)]
    written = ["--html", str(out / f"{number}.html"), "--save-mapping", str(out / f"{number}.yaml")]
    match made.family:
        case "machine" if number % 3 == 0:
            return ["sweep", str(file), str(chain), "--axis", "seed=0,1", "--out", str(out / f"{number}"),
                    "--jobs", "1"]  # fmt: skip
        case "machine":
            return ["run", str(file), str(chain), *written]
        case "sweep":
            return ["validate", str(file)]
        case "mapping":
            return [*run, "--mapping", str(file), *written]
        case "constraints":
            return [*run, "--constraints", str(file), *written]
        case "stream":
            return ["run", str(file), "--html", str(out / f"{number}.html")]
        case "phases":
            run[1:] = [str(folder / "in" / "pool.yaml"), str(folder / "in" / "attention.yaml")]
            return [*run, "--mapping", str(file), *written]
        case "config":
            return ["run", str(small), str(file), "--seq", "2", "--json"]
    return ["run", str(small), str(file), *written, "--perfetto", str(out / f"{number}.json")]


def main(folder: Path, cases: int) -> None:
    from typer.testing import CliRunner

    from accelsim.cli.app import app

    from .seeds import ATTENTION, CHAIN, POOL_MACHINE, SMALL_MACHINE

    for name in ("in", "out"):
        (folder / name).mkdir()
    (folder / "in" / "small.yaml").write_text(SMALL_MACHINE)
    (folder / "in" / "chain.yaml").write_text(CHAIN)
    (folder / "in" / "pool.yaml").write_text(POOL_MACHINE)
    (folder / "in" / "attention.yaml").write_text(ATTENTION)
    os.chdir(folder)
    watch, told = Watch(), []
    for number in range(cases):
        arguments = command(number, folder)
        watch.paths = []
        watch.on = True
        result = CliRunner().invoke(app, arguments)
        watch.on = False
        told.append({"arguments": arguments, "code": result.exit_code, "output": result.output, "paths": watch.paths})
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(Path(sys.argv[1]).resolve(), int(sys.argv[2]))
