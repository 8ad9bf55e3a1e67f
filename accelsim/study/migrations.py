"""Older stores brought up to date: one step per version, each a function of the database.

To change the format, raise `FORMAT`, and add the step from the version before to `STEPS`; `migrate` takes a store of
any age through all steps in one transaction, so that a store is of one version at every moment.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

from ..errors import BadInput

FORMAT = 2
SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS layouts (id INTEGER PRIMARY KEY, names TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS points (
  position INTEGER PRIMARY KEY, key TEXT NOT NULL, layout INTEGER NOT NULL, settings TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS results (
  key TEXT PRIMARY KEY, status TEXT NOT NULL, layout INTEGER NOT NULL, result TEXT NOT NULL, error TEXT NOT NULL,
  message TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS floors (
  key TEXT NOT NULL, objectives TEXT NOT NULL, floor TEXT NOT NULL, PRIMARY KEY (key, objectives)) WITHOUT ROWID;
"""
"""Settings and results are JSON lists; their layout is the JSON list of their names, which many rows share. Floors are
for the writer alone, who need not work them out twice."""


def create(db: sqlite3.Connection) -> None:
    """Make the tables of the present format where there are none."""
    for statement in SCHEMA.split(";"):
        db.execute(statement)


def layout(db: sqlite3.Connection, names: list[str]) -> int:
    """The number of a layout, given out at its first use."""
    text = json.dumps(names)
    db.execute("INSERT OR IGNORE INTO layouts (names) VALUES (?)", (text,))
    (number,) = db.execute("SELECT id FROM layouts WHERE names = ?", (text,)).fetchone()
    return int(number)


def version(db: sqlite3.Connection, file: Path) -> int:
    """The format of a store. Raises BadInput if it is none, or of a later accelsim."""
    (found,) = db.execute("SELECT value FROM meta WHERE name = 'format'").fetchone() or ("0",)
    number = int(found) if str(found).isdecimal() else 0
    if number < 1:
        raise BadInput(f"{file}: not a study (it names no format)")
    if number > FORMAT:
        raise BadInput(f"{file}: a study of format {number}; this accelsim reads formats up to {FORMAT}")
    return number


def migrate(db: sqlite3.Connection, start: int, file: Path) -> None:
    """Bring a store from format `start` to `FORMAT`. Raises BadInput if it cannot be written."""
    try:
        with db:
            db.execute("BEGIN IMMEDIATE")
            for number in range(start, FORMAT):
                STEPS[number](db)
            db.execute("UPDATE meta SET value = ? WHERE name = 'format'", (str(FORMAT),))
    except sqlite3.OperationalError as error:
        raise BadInput(
            f"{file}: a study of format {start}, which has to be rewritten as format {FORMAT} ({error}); "
            "copy it to where it can be written"
        ) from error


def _lists(db: sqlite3.Connection) -> None:
    """1 to 2: settings and results from JSON objects to lists with layouts; axes of a sweep by name."""
    db.execute("ALTER TABLE points RENAME TO old_points")
    db.execute("ALTER TABLE results RENAME TO old_results")
    create(db)
    for position, key, text in db.execute("SELECT position, key, settings FROM old_points").fetchall():
        db.execute("INSERT INTO points VALUES (?, ?, ?, ?)", (position, key, *_list(db, text)))
    rows = db.execute("SELECT key, status, result, error, message FROM old_results").fetchall()
    for key, status, text, error, message in rows:
        number, values = _list(db, text)
        db.execute("INSERT INTO results VALUES (?, ?, ?, ?, ?, ?)", (key, status, number, values, error, message))
    db.execute("DROP TABLE old_points")
    db.execute("DROP TABLE old_results")
    (text,) = db.execute("SELECT value FROM meta WHERE name = 'sweep'").fetchone()
    sweep = json.loads(text)
    sweep["axes"] = [{"names": names, "steps": steps, "spans": [], "when": ""} for names, steps in sweep["axes"]]
    sweep |= {"when": [], "sample": None, "constraints": [], "derived": []}
    db.execute("UPDATE meta SET value = ? WHERE name = 'sweep'", (json.dumps(sweep),))


def _list(db: sqlite3.Connection, text: str) -> tuple[int, str]:
    found = json.loads(text)
    return layout(db, list(found)), json.dumps(list(found.values()))


STEPS: dict[int, Callable[[sqlite3.Connection], None]] = {1: _lists}
