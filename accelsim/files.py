"""Files: texts read, outputs checked before any work and written whole or not at all."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, mkstemp

from .errors import BadInput, Problem, SpecError
from .text.names import nearest_key

MOST_BYTES = 2**28
"""Of a text file."""
_LINE_ENDS = re.compile("\r\n?")


def read_text(path: str | Path, where: str = "", suffixes: tuple[str, ...] = (".yaml", ".yml")) -> str:
    """The text of a file.

    Args:
        path: of the file.
        where: what refers to it, if a file does.
        suffixes: of the files beside it that may have been meant.

    Raises:
        SpecError: it cannot be read, with the nearest name beside it, is far too long, or is not UTF-8.
    """
    file = Path(path)
    try:
        if where and file.exists() and not file.is_file():
            raise ValueError("it is no regular file")
        with file.open("rb") as opened:  # of a device, which has no end
            content = opened.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES} bytes")
        return _LINE_ENDS.sub("\n", content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise SpecError([Problem(str(path), "not UTF-8 text")]) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SpecError([Problem(where, f"cannot read {path}: {reason}", _beside(file, suffixes))]) from None


def is_file(*parts: str | Path) -> bool:
    """Whether a path is that of a file; False too for one that the system cannot look up, such as one far too long."""
    try:
        return Path(*parts).is_file()
    except (OSError, ValueError):
        return False


def _beside(file: Path, suffixes: tuple[str, ...]) -> str:
    try:
        others = (p for p in file.parent.iterdir() if p.suffix.lower() in suffixes and p.name != file.name)
        names = sorted(p.name for p in others if p.is_file())
    except (OSError, ValueError):
        return ""
    return nearest_key(file.name, names) if names else ""


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


def writable_file(path: str | Path, inputs: Iterable[str | Path | None] = ()) -> Path:
    """The path of a file that can be written, its folder made if need be.

    Args:
        path: of the file.
        inputs: what is read, which may be files or not.

    Raises:
        BadInput: it cannot be written, or is a file that is read.
    """
    file = Path(path)
    if file.is_dir():
        raise BadInput(f"{file}: is a folder; give the name of a file")
    if file.is_file() and file.absolute().parent == Path("/dev"):  # both would write at their own places in it
        raise BadInput(f"{file}: stands for a file here; give the name of that file")
    if _is_stream(file):
        if not os.access(file, os.W_OK):
            raise BadInput(f"{file}: cannot write here; give another output path")
        return file
    if any(given is not None and is_file(given) and Path(given).samefile(file) for given in inputs if is_file(file)):
        raise BadInput(f"{file}: is read here and would be overwritten; give the output another name")
    writable_folder(file.parent)
    return file


def writable_files(*paths: str | Path | None, inputs: Iterable[str | Path | None] = ()) -> None:
    """Check those files that are wanted. Raises BadInput if one cannot be written, is named twice, or is read."""
    seen: set[Path] = set()
    for path in paths:
        if path is None:
            continue
        file = writable_file(path, inputs).resolve()
        if file in seen and not _is_stream(path):
            raise BadInput(f"{path}: two outputs would be written to this file; give each a name of its own")
        seen.add(file)


def _is_stream(path: str | Path) -> bool:
    """Whether a path is that of a device, such as /dev/null, or of a pipe, in whose place no file may be put."""
    file = Path(path)
    return file.exists() and not file.is_dir() and not file.is_file()


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path to write to; when the block ends without an error, the file is put in the place of `path`.

    A symbolic link stays one. What goes to a device or a pipe is written to it.
    """
    file = Path(path)
    temporary: Path | None = None
    try:
        if _is_stream(file):
            with TemporaryDirectory(prefix="accelsim-") as folder:
                written = Path(folder) / f"output{file.suffix}"
                yield written
                with file.open("wb") as stream:
                    stream.write(written.read_bytes())
            return
        file = file.resolve()
        handle, name = mkstemp(dir=file.parent, prefix=f".{file.name}-", suffix=file.suffix)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(file)
    except OSError as error:
        raise BadInput(f"{file}: cannot write ({error.strerror}); give another output path") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole or not at all. Raises BadInput if it cannot be written."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
