"""Output files: checked before any work, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkstemp

from .errors import BadInput


def writable_folder(folder: str | Path) -> Path:
    """The folder, made if need be. Raises BadInput if it cannot be made or written."""
    where = Path(folder)
    try:
        where.mkdir(parents=True, exist_ok=True)
        handle, probe = mkstemp(dir=where, prefix=".accelsim-")
        os.close(handle)
        os.unlink(probe)
    except OSError as error:
        raise BadInput(f"{where}: cannot write here ({error.strerror}); give another output folder") from None
    return where


def writable_file(path: str | Path) -> Path:
    """The path of a file that can be written, its folder made if need be. Raises BadInput if it cannot."""
    file = Path(path)
    if file.is_dir():
        raise BadInput(f"{file}: is a folder; give the name of a file")
    writable_folder(file.parent)
    return file


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to, put in its place when the block ends without an error."""
    file = Path(path)
    handle, name = mkstemp(dir=file.parent, prefix=f".{file.name}-", suffix=file.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(file)
    except OSError as error:
        raise BadInput(f"{file}: cannot write ({error.strerror}); give another output path") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole or not at all. Raises BadInput if it cannot be written."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
