"""Store: the results of a sweep in one SQLite file, written by one process, point by point.

Results are kept under the content key of their point, so that a resumed or enlarged sweep finds what is already there.
Every write is one transaction: whenever the writer is killed, the file holds whole points only.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

from ..collector import uncollected
from ..errors import BadInput
from .migrations import FORMAT, create, layout, migrate, version
from .outcome import Outcome, Status
from .point import Point
from .record import Layout, Record
from .row import Row
from .span import Scalar
from .sweep import Sweep

FILE = "study.sqlite"
LOCK = ".lock"


class Store:
    """The writer's side. One writer at a time: a second one is refused."""

    def __init__(self, folder: Path, sweep: Sweep, points: Sequence[Point], keys: Sequence[str]) -> None:
        """Open or make the store in `folder` for a sweep.

        Raises:
            BadInput: another process writes there, or nobody can.
        """
        self._layouts: dict[tuple[str, ...], int] = {}
        self._rows = 0
        self._file = folder / FILE
        try:
            self._lock = _lock(folder)
        except OSError as error:
            raise _unwritable(folder / LOCK, error.strerror or str(error)) from error
        try:
            self._open(self._file, sweep, points, keys)
        except BaseException:
            self.close()
            raise

    def _open(self, file: Path, sweep: Sweep, points: Sequence[Point], keys: Sequence[str]) -> None:
        try:
            self._db = sqlite3.connect(file)
            self._db.execute("PRAGMA synchronous = NORMAL")
            there = self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone()
            if there and (found := version(self._db, file)) != FORMAT:
                migrate(self._db, found, file)
        except sqlite3.DatabaseError as error:
            raise BadInput(f"{file}: not a study ({error})") from error
        with self._writing():
            self._db.execute("BEGIN IMMEDIATE")  # tables too are made with all that stands in them, or not at all
            create(self._db)
            self._db.execute("DELETE FROM points")
            self._insert(points, keys)
            meta = {"format": str(FORMAT), "sweep": sweep.to_json()}
            self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list(meta.items()))

    def add(self, points: Sequence[Point], keys: Sequence[str]) -> None:
        """Put points after those that are there."""
        with self._writing():
            self._insert(points, keys)

    def _insert(self, points: Sequence[Point], keys: Sequence[str]) -> None:
        pairs = enumerate(zip(points, keys, strict=True), self._rows)
        rows = [(i, key, *self._list(point.settings())) for i, (point, key) in pairs]
        self._db.executemany("INSERT INTO points VALUES (?, ?, ?, ?)", rows)
        self._rows += len(rows)

    def results(self) -> dict[str, Outcome]:
        """Every outcome that is held, by the key of its point, those of other sweeps in this folder included."""
        with _readable(self._file):
            return _outcomes(self._db)

    def write(self, outcomes: Iterable[tuple[str, Outcome]]) -> None:
        """Keep outcomes under their keys, all or none. Raises BadInput if they cannot be written."""
        with self._writing():
            rows = [(k, o.status, *self._list(o.values), o.error, o.message) for k, o in outcomes]
            self._db.executemany("INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?)", rows)

    def floors(self, objectives: str) -> dict[str, tuple[float, ...]]:
        """The floors that are held for these objectives, by the key of their point."""
        rows = self._db.execute("SELECT key, floor FROM floors WHERE objectives = ?", (objectives,)).fetchall()
        # Read as one list, which is several times as fast as many short ones.
        floors = json.loads(f"[{','.join(text for _, text in rows)}]")
        return {key: tuple(floor) for (key, _), floor in zip(rows, floors, strict=True)}

    def write_floors(self, objectives: str, floors: Iterable[tuple[str, tuple[float, ...]]]) -> None:
        """Keep floors under the keys of their points, all or none. Raises BadInput if they cannot be written."""
        with self._writing():
            rows = [(key, objectives, json.dumps(floor)) for key, floor in floors]
            self._db.executemany("INSERT OR REPLACE INTO floors VALUES (?, ?, ?)", rows)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """A transaction."""
        try:
            with self._db:
                yield
        except sqlite3.OperationalError as error:
            raise _unwritable(self._file, str(error)) from error

    def _list(self, values: Mapping[str, Scalar]) -> tuple[int, str]:
        names = tuple(values)
        if names not in self._layouts:
            self._layouts[names] = layout(self._db, list(names))
        return self._layouts[names], json.dumps(list(values.values()))

    def close(self) -> None:
        if hasattr(self, "_db"):
            self._db.close()
        if self._lock is not None:
            self._lock.close()


def _unwritable(file: Path, why: str) -> BadInput:
    return BadInput(f"{file}: cannot write ({why}); what was kept before is still there: --resume goes on from it")


def _lock(folder: Path) -> IO[str] | None:
    """Hold the folder for this process, until it ends in whatever way."""
    try:
        import fcntl
    except ImportError:  # no such locks on Windows
        return None
    handle = (folder / LOCK).open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        raise BadInput(f"{folder}: another sweep is writing here (wait for it, or give another folder)") from None
    return handle


@uncollected()
def read(path: Path) -> tuple[Sweep, list[Row]]:
    """The sweep and its rows in their order; a store of an older format is brought up to date.

    Raises:
        BadInput: `path` is no study, or of a later format.
    """
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise BadInput(f"{path}: no study here (a folder that `accelsim sweep --out` has written)")
    # Not read-only: after a writer was killed, the first reader has to roll its last transaction back.
    with _readable(file), closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=rw", uri=True)) as db:
        if (found := version(db, file)) != FORMAT:
            _update(db, found, file)
        db.execute("BEGIN")
        meta = dict(db.execute("SELECT name, value FROM meta"))
        return Sweep.from_json(meta["sweep"]), _read_rows(db)


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """What is wrong with a store, told as BadInput."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise BadInput(f"{file}: not a study ({error})") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(f"{file}: a study that is damaged ({type(error).__name__}: {error})") from error


def _read_rows(db: sqlite3.Connection) -> list[Row]:
    """The rows in their order."""
    layouts = _layouts(db)
    points = db.execute("SELECT position, layout, settings, key FROM points ORDER BY position")
    outcomes = _outcomes(db)
    return [Row(Record(layouts[number], text), outcomes.get(key), i) for i, number, text, key in points]


def _outcomes(db: sqlite3.Connection) -> dict[str, Outcome]:
    layouts = _layouts(db)
    results = db.execute("SELECT key, status, layout, result, error, message FROM results")
    return {
        key: Outcome(_STATUS[status], Record(layouts[number], text), error, message)
        for key, status, number, text, error, message in results
    }


def _layouts(db: sqlite3.Connection) -> dict[int, Layout]:
    return {number: Layout(json.loads(text)) for number, text in db.execute("SELECT id, names FROM layouts")}


_STATUS = {status.value: status for status in Status}


def _update(db: sqlite3.Connection, found: int, file: Path) -> None:
    try:
        lock = _lock(file.parent)
    except OSError as error:
        raise BadInput(
            f"{file}: a study of format {found}, which has to be rewritten as format {FORMAT} ({error.strerror}); "
            "copy it to where it can be written"
        ) from error
    try:
        migrate(db, found, file)
    finally:
        if lock is not None:
            lock.close()
