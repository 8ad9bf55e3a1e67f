"""SCALE-Sim's configurations: INI files with one systolic array and an SRAM for each operand.

    [architecture_presets]
    ArrayHeight:    32
    ArrayWidth:     32
    IfmapSramSzkB:  64
    Dataflow : ws
    ...
    [run_presets]
    InterfaceBandwidth: CALC

They become the machine file that says the same, so that values can be set, swept and validated as in any other: the
memories `dram`, `ifmap_sram`, `filter_sram` and `ofmap_sram`, and the unit `array`. A word of SCALE-Sim is a byte
(single_layer_sim.py, `word_size`), a kB 1024 of them. It counts cycles alone; a clock of 1 GHz stands in.

- ``InterfaceBandwidth: CALC`` provisions the memories so that the array never waits: `timing: scalesim`, an off-chip
  memory of unlimited bandwidth, and stream buffers.
- ``USER`` gives the off-chip memory ``Bandwidth`` words per cycle, which all operands share, and scratchpads:
  `timing: physical`. Cycles differ from SCALE-Sim's, which has a port of its own for each operand.

Keys and sections are read in any case, as configparser does. What asks for a result that a dense run on this machine
would not give (sparsity, Ramulator's latencies, custom layouts) is refused; keys that change no result here, and keys
that are unknown, are named in the machine's description.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import Problem, SpecError
from ...files import read_text
from ...text.names import short
from ...text.nodes import MAX_DIGITS, Keys, Position
from ..document import MachineText

SUFFIX = ".cfg"
ARCHITECTURE, RUN = "architecture_presets", "run_presets"
SRAMS = {"ifmap_sram": "ifmapsramszkb", "filter_sram": "filtersramszkb", "ofmap_sram": "ofmapsramszkb"}
DATAFLOWS, MODES = ("os", "ws", "is"), ("CALC", "USER")
MODEL = {
    "general": ("run_name",),
    ARCHITECTURE: ("arrayheight", "arraywidth", *SRAMS.values(), "dataflow", "bandwidth"),
    RUN: ("interfacebandwidth",),
}
"""Keys that the machine is made of, by section."""
WITHOUT_EFFECT = {
    ARCHITECTURE: ("ifmapoffset", "filteroffset", "ofmapoffset", "readrequestbuffer", "writerequestbuffer",
                   "memorybanks", "onchipmemorybanks", "onchipmemorybankports"),
    "layout": ("ifmapsrambankbandwidth", "ifmapsrambanknum", "ifmapsrambankport",
               "filtersrambankbandwidth", "filtersrambanknum", "filtersrambankport"),
    "sparsity": ("sparserep", "optimizedmapping", "blocksize", "randomnumbergeneratorseed"),
    "network_presets": ("topologycsvloc",),
}  # fmt: skip
"""Keys that change no result of a dense run: addresses, queues towards Ramulator, details of what is switched off."""
OFF = {
    "layout": ("ifmapcustomlayout", "filtercustomlayout"),
    "sparsity": ("sparsitysupport",),
    RUN: ("useramulatortrace",),
}
"""Switches that are read only when they are off."""
_LINE = re.compile(r"(?P<key>[^:=\s][^:=]*?)\s*[:=]\s*(?P<value>.*)")


def is_scalesim_cfg(ref: str | Path) -> bool:
    """Whether a reference to a machine is the path of a configuration of SCALE-Sim."""
    return str(ref).lower().endswith(SUFFIX)


def read_scalesim_cfg(path: str | Path) -> MachineText:
    """Read a configuration as the machine file that says the same.

    Raises:
        SpecError: it cannot be read, or everything that is wrong with it, each with file and line.
    """
    return parse_scalesim_cfg(read_text(path), str(path))


def parse_scalesim_cfg(text: str, file: str = "machine.cfg") -> MachineText:
    """The machine file that says what the text of a configuration says.

    Raises:
        SpecError: everything that is wrong, each with file and line.
    """
    cfg = _read(text, file)
    rows, cols = cfg.number(ARCHITECTURE, "arrayheight"), cfg.number(ARCHITECTURE, "arraywidth")
    kilobytes = {sram: cfg.number(ARCHITECTURE, key) for sram, key in SRAMS.items()}
    dataflow = cfg.word(ARCHITECTURE, "dataflow", DATAFLOWS)
    calc = cfg.word(RUN, "interfacebandwidth", MODES) == "CALC"
    bandwidth = "unlimited" if calc else f"{cfg.bandwidth()} B/cycle"
    cfg.refuse_switches()
    if cfg.problems:
        raise SpecError([problem for _, problem in sorted(cfg.problems, key=lambda p: p[0])])
    known = {section: {*MODEL.get(section, ()), *WITHOUT_EFFECT.get(section, ()), *OFF.get(section, ())}
             for section in cfg.values}  # fmt: skip
    unused = [cfg.spelling[s, k] for s in cfg.values for k in cfg.values[s] if k in WITHOUT_EFFECT.get(s, ())]
    unknown = [f"[{s}] {cfg.spelling[s, k]}" for s in cfg.values for k in cfg.values[s] if k not in known[s]]
    size = "window" if calc else "capacity"
    data: dict[str, Any] = {
        "name": cfg.values.get("general", {}).get("run_name") or Path(file).stem,
        "description": _description(calc, unused, unknown),
        "source": f"{Path(file).name}, a configuration of SCALE-Sim",
        "clock": "1 GHz",
        "memories": {
            "dram": {"kind": "dram", "capacity": "1 TiB", "bandwidth": bandwidth},
            **{
                sram: {
                    "kind": "stream_buffer" if calc else "buffer",
                    "parent": "dram",
                    size: f"{kilobytes[sram]} KiB",
                    "bandwidth": "unlimited",
                }
                for sram in SRAMS
            },
        },
        "units": {
            "array": {
                "kind": "systolic",
                "memory": "ifmap_sram",
                "operands": {"weight": "filter_sram", "output": "ofmap_sram"},
                "rows": rows,
                "cols": cols,
                "dataflows": [dataflow],
                "timing": "scalesim" if calc else "physical",
            }
        },
    }
    return MachineText(data, {(): Position(file, 1), **cfg.positions(size)}, None)


def _description(calc: bool, unused: list[str], unknown: list[str]) -> str:
    text = f"As SCALE-Sim's configuration has it, bandwidth mode {'CALC' if calc else 'USER'}."
    if unused:
        text += f" Without effect here: {', '.join(unused)}."
    if unknown:
        text += f" Not understood: {', '.join(unknown)}."
    return text


@dataclass
class _Cfg:
    """Values by section and key, both in lower case, the line of each and the key as written; problems, by line."""

    file: str
    values: dict[str, dict[str, str]] = field(default_factory=dict)
    lines: dict[tuple[str, str], int] = field(default_factory=dict)
    spelling: dict[tuple[str, str], str] = field(default_factory=dict)
    problems: list[tuple[int, Problem]] = field(default_factory=list)

    def wrong(self, line: int, what: str, hint: str = "") -> None:
        self.problems.append((line, Problem(f"{self.file}:{line}", what, hint)))

    def get(self, section: str, key: str) -> str:
        found = self.values.get(section, {}).get(key)
        if found is None:
            where = self.lines.get((section, ""), 1)
            self.wrong(where, f"missing key `{key}` in [{section}]", "every configuration has it")
        return found or ""

    def number(self, section: str, key: str) -> int:
        text = self.get(section, key)
        if text and not _is_positive(text):
            self.wrong(self.lines[section, key], f"{key} is `{short(text)}`", "a positive whole number")
        return int(text) if _is_positive(text) else 1

    def word(self, section: str, key: str, able: tuple[str, ...]) -> str:
        text = self.get(section, key)
        if text and text not in able:
            self.wrong(self.lines[section, key], f"{key} is `{short(text)}`", f"one of {', '.join(able)}")
        return text

    def bandwidth(self) -> int:
        """Words per cycle; of several numbers, one per operand, the sum."""
        parts = [part.strip() for part in self.get(ARCHITECTURE, "bandwidth").split(",")]
        if parts != [""] and not all(map(_is_positive, parts)):
            self.wrong(self.lines[ARCHITECTURE, "bandwidth"], f"bandwidth is `{short(', '.join(parts))}`",
                       "words per cycle: a positive whole number, or one for each operand")
            return 1
        return sum(int(part) for part in parts if part)

    def refuse_switches(self) -> None:
        for section, keys in OFF.items():
            for key in keys:
                text = self.values.get(section, {}).get(key, "False")
                if text.lower() != "false":
                    self.wrong(self.lines[section, key], f"{key} is `{short(text)}`, which is not modelled",
                               "set it to False")

    def positions(self, size: str) -> dict[Keys, Position]:
        """Where each value of the machine file comes from, so that problems found later name the line."""
        origin: dict[Keys, tuple[str, str]] = {
            ("name",): ("general", "run_name"),
            ("memories",): (ARCHITECTURE, ""),
            ("memories", "dram", "bandwidth"): (ARCHITECTURE, "bandwidth"),
            ("units",): (ARCHITECTURE, ""),
            ("units", "array", "rows"): (ARCHITECTURE, "arrayheight"),
            ("units", "array", "cols"): (ARCHITECTURE, "arraywidth"),
            ("units", "array", "dataflows"): (ARCHITECTURE, "dataflow"),
            ("units", "array", "timing"): (RUN, "interfacebandwidth"),
            **{("memories", sram, size): (ARCHITECTURE, key) for sram, key in SRAMS.items()},
        }
        return {path: Position(self.file, self.lines[key]) for path, key in origin.items() if key in self.lines}


def _read(text: str, file: str) -> _Cfg:
    """Sections and keys of an INI text; what is wrong with its lines goes to the problems."""
    cfg = _Cfg(file)
    section: dict[str, str] | None = None
    name = ""
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == "[" and line[-1] == "]":
            name = line[1:-1].strip().lower()
            section = cfg.values.setdefault(name, {})
            cfg.lines.setdefault((name, ""), number)
        elif section is None or (match := _LINE.fullmatch(line)) is None:
            cfg.wrong(number, f"`{short(line)}` is not read", "[section], then lines of key: value")
        elif (key := match["key"].lower()) in section:
            cfg.wrong(number, f"{match['key']} is there twice", f"first in line {cfg.lines[name, key]}")
        else:
            section[key] = match["value"]
            cfg.lines[name, key], cfg.spelling[name, key] = number, match["key"]
    return cfg


def _is_positive(text: str) -> bool:
    """Whether a text is a whole number from 1."""
    return text.isdecimal() and len(text) <= MAX_DIGITS and int(text) > 0
