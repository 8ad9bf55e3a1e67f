"""Experiments that end their process, importable by worker processes."""

from __future__ import annotations

import os

from accelsim.experiments.overview import Outcome


def outcome_or_end(name: str, summary: str) -> Outcome:
    """Of an experiment called "answers"; any other ends its process."""
    if name != "answers":
        os._exit(7)
    return Outcome(name, summary, None, "here")
