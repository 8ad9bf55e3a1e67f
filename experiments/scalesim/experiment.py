"""SCALE-Sim 3.0.0's figures of single layers on systolic arrays that never wait: cycles, words, utilisations.

Cycles and SRAM words are the unit's (`timing: scalesim`), DRAM words those of the Mapping's moves; utilisations follow
from cycles and MACs. `figures` gives them of any report of one layer on one array.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from math import prod

from ... import simulate
from ...arch.loader import RawSpec, load_spec
from ...components.systolic import SystolicArray
from ...errors import BadInput
from ...ir import Role, Workload, contraction
from ...report import Report
from ...workloads.text import loads_scalesim
from ..loader import Row, data_path, table

COLUMNS = ("ifmap_h", "ifmap_w", "filt_h", "filt_w", "channels", "num_filters", "stride")
HEADING = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,"
HALF_A_PLACE = 0.51e-6
"""The table has percentages to six places."""
SETS, ACTIVE_SETS = 100, 50
"""A read buffer of SCALE-Sim is 100 sets of equal size, of which half hold data (read_buffer_estimate_bw.py)."""
REFETCHED = (
    "the array reads words again that do not fit half of their SRAM: SCALE-Sim empties the half with data whenever "
    "it is full, in the fixed order of its folds, and fetches them again; accelsim's stream buffer moves each word once"
)
PARTIAL = (
    "SCALE-Sim sends every partial result off the chip and counts the unused words of lines that it closes early; "
    "accelsim stores each result once"
)


@dataclass(frozen=True)
class Figures:
    """What SCALE-Sim reports of a layer: cycles, words and percentages.

    Attributes:
        last_cycle: index of the last cycle, counted from 0; SCALE-Sim prints it as its total.
        mapping_util_pct: elements that a fold uses, of all elements, mean over the folds.
        compute_util_pct: MACs of a fold over elements times its cycles, mean over the folds; SCALE-Sim takes a fold of
            ws and is for cols - 1 cycles longer here than its cycles are.
        overall_util_pct: MACs over elements times `last_cycle`.
    """

    last_cycle: int
    sram_ifmap_reads: int
    sram_filter_reads: int
    sram_ofmap_writes: int
    mapping_util_pct: float
    compute_util_pct: float
    overall_util_pct: float
    dram_ifmap_reads: int
    dram_filter_reads: int
    dram_ofmap_writes: int


def layer(name: str, sizes: Mapping[str, str]) -> Workload:
    """The Workload of one convolution, of which `COLUMNS` are the sizes."""
    return loads_scalesim("\n".join((HEADING, ", ".join((name, *(sizes[c] for c in COLUMNS))) + ",")), name)


@cache
def machine() -> RawSpec:
    """The machine file, whose array `run` sets."""
    return load_spec(data_path(__package__, "array.yaml"))


def run(workload: Workload, dataflow: str, rows: int, cols: int) -> Report:
    """Simulate one layer on one array."""
    values = {"units.array.rows": rows, "units.array.cols": cols, "units.array.dataflows": [dataflow]}
    return simulate(machine().with_values(values).build(), workload)


def figures(report: Report) -> Figures:
    """SCALE-Sim's figures, from the report of one layer on one array with one dataflow, each memory of bytes as words.

    Raises:
        BadInput: the report is of another kind.
    """
    (einsum, *more), (array, *others) = (e for e, _ in report.workload.einsums()), report.arch.units.values()
    parts = contraction(einsum)
    if more or others or parts is None or not isinstance(array, SystolicArray) or len(array.dataflows) != 1:
        raise BadInput(f"{report.name}: not one layer on one systolic array with one dataflow")
    (dataflow,), elements = array.dataflows, array.rows * array.cols
    streamed = prod(einsum.sizes[r] for r in {"os": parts.k, "ws": parts.m, "is": parts.n}[dataflow])
    fill = (1 if dataflow == "os" else 2) * array.rows + array.cols - 2
    folds = report.cycles / (streamed + fill)
    counted = streamed + fill + (0 if dataflow == "os" else array.cols - 1)
    words: dict[tuple[str, str, str], int] = {}
    for row in report.energy:
        if row.category == "memory":
            key = row.component, row.role, row.action
            words[key] = words.get(key, 0) + row.count
    near, far = array.feeds(len(einsum.inputs)), report.arch.off_chip[0].name
    ifmap, filter_, ofmap = (str(Role.INPUT), "read"), (str(Role.WEIGHT), "read"), (str(Role.OUTPUT), "write")
    return Figures(
        last_cycle=int(report.cycles) - 1,
        sram_ifmap_reads=words[near[0], *ifmap],
        sram_filter_reads=words[near[1], *filter_],
        sram_ofmap_writes=words[near[2], *ofmap],
        mapping_util_pct=100 * report.macs / (folds * streamed * elements),
        compute_util_pct=100 * report.macs / (folds * counted * elements),
        overall_util_pct=100 * report.macs / ((report.cycles - 1) * elements),
        dram_ifmap_reads=words[far, *ifmap],
        dram_filter_reads=words[far, *filter_],
        dram_ofmap_writes=words[far, *ofmap],
    )


def rows() -> Iterator[Row]:
    """Rows by layer, dataflow and array of the reference table."""
    for record in table(__package__, "layers.csv"):
        array = record["dataflow"], int(record["rows"]), int(record["cols"])
        found = figures(run(layer(record["layer"], record), *array))
        shape = "x".join(record[c] for c in COLUMNS)
        where = f"{record['topology']} {record['layer']} ({shape}), {array[0]} {array[1]}x{array[2]}"
        for quantity, value in asdict(found).items():
            note, percent, published = _note(quantity, record), quantity.endswith("pct"), float(record[quantity])
            exact = HALF_A_PLACE / published if percent else 0.0
            yield Row(
                quantity=quantity,
                where=where,
                published=published,
                accelsim=value,
                unit="%" if percent else "cycles" if quantity == "last_cycle" else "words",
                tolerance=None if note else exact,
                source=record["source"],
                note=note,
            )


def _note(quantity: str, record: Mapping[str, str]) -> str:
    """Why a figure is not judged; empty if it is."""
    if quantity == "dram_ofmap_writes":
        return PARTIAL
    if quantity.startswith("dram"):
        operand = quantity.split("_")[1]
        words, held = int(record[f"unique_{operand}"]), ACTIVE_SETS * (1024 * int(record[f"{operand}_sram_kB"]) // SETS)
        read_once = int(record[f"sram_{operand}_reads"]) == words
        return "" if words < held or read_once else REFETCHED
    return ""
