"""Phases: the decisions of a Mapping whose unit is a pool of cores that is handed out anew from phase to phase.

Instead of a tree of Ops such a Mapping has `phases`. The Workload is cut into parts, each of them a Repeat, or what
stands before, between and after them; a part is a sequence of phases. In a phase stages run at once, each a task on
cores of its own. A task is an Einsum, or neighbouring ones that make parts of one tensor, under the name of the first.
Results pass between stages of a phase on the chip; what a later phase reads goes through off-chip memory unless the
phase that made it keeps it. In YAML::

    workload: attention_3pass
    architecture: plasticine
    phases:
      unit: pcu
      switch: host
      parts:
      - - stages:
          - {task: QK, cores: 40, outer: m, pieces: 64, resident: [K]}
          - {task: SN, cores: 24, outer: m, pieces: 64}
          keep: [SN]
        - stages: [{task: SD, cores: 64}]
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..text.fields import Reader
from ..text.nodes import Node as YamlNode
from ..text.plain import quoted


@dataclass(frozen=True)
class Stage:
    """A task in a phase.

    Attributes:
        cores: that it alone has; 0 for a task on the network.
        outer: its outermost rank, along which it hands on results; empty for one firing.
        resident: tensors that it loads whole before it starts, because every firing needs them.
        pieces: firings into which the outermost rank is cut; 0: as many as its loop makes.
    """

    task: str
    cores: int
    outer: str = ""
    resident: tuple[str, ...] = ()
    pieces: int = 0


@dataclass(frozen=True)
class Phase:
    """Stages that run at once. `keep` names results that stay on the chip for later phases of the same part."""

    stages: tuple[Stage, ...]
    keep: tuple[str, ...] = ()


@dataclass(frozen=True)
class Phases:
    """Phases of every part of a Workload, in order, on one unit; `switch` is a key of its switches, or empty."""

    unit: str
    parts: tuple[tuple[Phase, ...], ...]
    switch: str = ""


def phase_lines(phases: Phases) -> list[str]:
    """The YAML form, below the key ``phases``."""
    lines = ["phases:", f"  unit: {quoted(phases.unit)}"]
    if phases.switch:
        lines.append(f"  switch: {quoted(phases.switch)}")
    lines.append("  parts:")
    for part in phases.parts:
        for i, phase in enumerate(part):
            lines.append(f"  {'-' if i == 0 else ' '} - stages:")
            lines += [f"      - {{{_stage(stage)}}}" for stage in phase.stages]
            if phase.keep:
                lines.append(f"      keep: [{_names(phase.keep)}]")
    return lines


def _stage(stage: Stage) -> str:
    parts = [f"task: {quoted(stage.task)}", f"cores: {stage.cores}"]
    if stage.outer:
        parts.append(f"outer: {quoted(stage.outer)}")
    if stage.pieces:
        parts.append(f"pieces: {stage.pieces}")
    if stage.resident:
        parts.append(f"resident: [{_names(stage.resident)}]")
    return ", ".join(parts)


def _names(names: Iterable[str]) -> str:
    return ", ".join(map(quoted, names))


_PHASES = "{unit: pool, parts: [[{stages: [...]}]]}"
_PHASE = "{stages: [{task: QK, cores: 40}], keep: [S]}"
_STAGE = "{task: QK, cores: 40, outer: m, pieces: 64, resident: [K]}"


def read_phases(reader: Reader, node: YamlNode) -> Phases:
    """The inverse of `phase_lines`; what is wrong is reported to the reader."""
    found = reader.table(node, "phases", ("unit", "parts"), ("switch",), _PHASES)
    parts = []
    for i, part in enumerate(reader.items(found.get("parts"), "phases.parts")):
        path = f"phases.parts[{i}]"
        parts.append(tuple(_read_phase(reader, n, f"{path}[{k}]") for k, n in enumerate(reader.items(part, path))))
    switch = reader.text(found["switch"], "phases.switch") if "switch" in found else ""
    return Phases(reader.text(found.get("unit"), "phases.unit"), tuple(parts), switch)


def _read_phase(reader: Reader, node: YamlNode, path: str) -> Phase:
    found = reader.table(node, path, ("stages",), ("keep",), _PHASE)
    at = f"{path}.stages"
    stages = tuple(_read_stage(reader, n, f"{at}[{i}]") for i, n in enumerate(reader.items(found.get("stages"), at)))
    return Phase(stages, _read_names(reader, found.get("keep"), f"{path}.keep"))


def _read_stage(reader: Reader, node: YamlNode, path: str) -> Stage:
    found = reader.table(node, path, ("task", "cores"), ("outer", "pieces", "resident"), _STAGE)
    return Stage(
        reader.text(found.get("task"), f"{path}.task"),
        reader.integer(found.get("cores"), f"{path}.cores", least=1, default=1),
        reader.text(found["outer"], f"{path}.outer") if "outer" in found else "",
        _read_names(reader, found.get("resident"), f"{path}.resident"),
        reader.integer(found.get("pieces"), f"{path}.pieces", least=1, default=0),
    )


def _read_names(reader: Reader, node: YamlNode | None, path: str) -> tuple[str, ...]:
    return tuple(reader.text(item, f"{path}[{i}]") for i, item in enumerate(reader.items(node, path)))
