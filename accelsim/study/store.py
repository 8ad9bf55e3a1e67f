"""Store: the results of a sweep in one SQLite file, written by one process, point by point.

Results are kept under the content key of their point, so that a resumed or enlarged sweep finds what is already there.
Every write is one transaction: whenever the writer is killed, the file holds whole points only.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..errors import BadInput
from .outcome import Outcome, Status
from .sweep import Point, Scalar, Sweep

FILE = "study.sqlite"
FORMAT = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS points (position INTEGER PRIMARY KEY, key TEXT NOT NULL, settings TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS results (
  key TEXT PRIMARY KEY, status TEXT NOT NULL, result TEXT NOT NULL, error TEXT NOT NULL, message TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Row:
    """One point of a stored sweep; `outcome` is None while it has not been evaluated."""

    settings: Mapping[str, Scalar]
    outcome: Outcome | None


class Store:
    """The writer's side. One writer at a time: a second one is refused."""

    def __init__(self, folder: Path, sweep: Sweep, points: Sequence[Point], keys: Sequence[str]) -> None:
        """Open or make the store in `folder` for a sweep. Raises BadInput if another process writes there."""
        self._lock = _lock(folder)
        self._db = sqlite3.connect(folder / FILE)
        self._db.execute("PRAGMA synchronous = NORMAL")
        with self._db:
            for statement in _SCHEMA.split(";"):
                self._db.execute(statement)
            self._db.execute("DELETE FROM points")
            self._db.executemany(
                "INSERT INTO points VALUES (?, ?, ?)",
                [(i, k, json.dumps(p.settings())) for i, (p, k) in enumerate(zip(points, keys, strict=True))],
            )
            meta = {"format": str(FORMAT), "sweep": sweep.to_json()}
            self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list(meta.items()))

    def settled(self) -> set[str]:
        """Keys of the points that need no evaluation any more."""
        rows = self._db.execute("SELECT key FROM results WHERE status != ?", (Status.CRASHED,))
        return {key for (key,) in rows}

    def write(self, outcomes: Iterable[tuple[str, Outcome]]) -> None:
        """Keep outcomes under their keys, all or none."""
        rows = [(k, o.status, json.dumps(dict(o.values)), o.error, o.message) for k, o in outcomes]
        with self._db:
            self._db.executemany("INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?)", rows)

    def close(self) -> None:
        self._db.close()
        if self._lock is not None:
            self._lock.close()


def _lock(folder: Path) -> IO[str] | None:
    """Hold the folder for this process, until it ends in whatever way."""
    try:
        import fcntl
    except ImportError:  # no such locks on Windows
        return None
    handle = (folder / ".lock").open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        raise BadInput(f"{folder}: another sweep is writing here (wait for it, or give another folder)") from None
    return handle


def read(path: Path) -> tuple[Sweep, list[Row]]:
    """The sweep and its rows in grid order. Raises BadInput when `path` is no study."""
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise BadInput(f"{path}: no study here (a folder that `accelsim sweep --out` has written)")
    try:
        # Not read-only: after a writer was killed, the first reader has to roll its last transaction back.
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=rw", uri=True)) as db:
            meta = dict(db.execute("SELECT name, value FROM meta"))
            if meta.get("format") != str(FORMAT):
                raise BadInput(f"{file}: a study of format {meta.get('format')}, this accelsim reads {FORMAT}")
            found = db.execute(
                "SELECT settings, status, result, error, message FROM points LEFT JOIN results USING (key)"
                " ORDER BY position"
            ).fetchall()
    except sqlite3.DatabaseError as error:
        raise BadInput(f"{file}: not a study ({error})") from error
    rows = [
        Row(json.loads(settings), Outcome(Status(status), json.loads(values), error, message) if status else None)
        for settings, status, values, error, message in found
    ]
    return Sweep.from_json(meta["sweep"]), rows
