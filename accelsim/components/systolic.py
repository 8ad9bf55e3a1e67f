"""Systolic arrays: output-, weight- and input-stationary, with SCALE-Sim's closed forms of their cycles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal, Self, cast, get_args

import numpy as np
from pydantic import Field, field_validator, model_validator

from ..arch.component import CONFLICT, Price
from ..arch.energy import Arithmetic, Figure
from ..arch.units import ENERGY, ENERGY_PER_BYTE, Bytes, Energy, EnergyPerByte, Quantity
from ..errors import BadInput
from ..ir import Contraction, Einsum, contraction
from ..ir.roles import rank_roles
from ..ir.sparsity import group_rank
from .base import Cost, Extents, IntArray, SpatialOption, bytes_of, tile_shape
from .folds import Dataflow, least_reads, used_elements
from .macs import area_of_macs, least_mac_actions, mac_prices, mac_slices
from .sparse import SparseUnit, share_of, shortened
from .systolic_banks import Shape, stream_and_shift_waits

Deal = Literal["folds", "rows", "columns", "contraction", "groups"]
Hidden = Literal["fill", "skew", "drain"]
_LETTERS: Mapping[str, str] = {"groups": "g", "rows": "m", "columns": "n", "contraction": "k"}
"""What a deal gives parts of."""


@dataclass(frozen=True)
class _Run:
    """A tile on all arrays, one entry per candidate.

    Attributes:
        service, latency: cycles.
        a, b: words of A and B that the arrays read from memory, per point of K.
        again: words of partial results that are written and read back.
        kept: words of results in the accumulators of one array.
        steps: points of K that the arrays run.
        streaming: of `service`, what is left where shifting that hides takes no time.
        rounds: folds of the array with the largest share.
        passes: how often its results leave it.
    """

    service: IntArray
    latency: IntArray
    streaming: IntArray
    a: IntArray
    b: IntArray
    again: IntArray
    kept: IntArray
    steps: IntArray
    rounds: IntArray
    passes: IntArray


class SystolicArray(SparseUnit):
    """One or more equal arrays of rows × cols MACs that compute contractions as O[g,m,n] = sum(k) A[g,m,k] * B[g,k,n].

    A is the Einsum's first input and B its second. A convolution runs as im2col: m is the product of all its ranks that
    B does not carry, k of all that are reduced. Each g (a head, a group, a channel of a depthwise convolution) is a
    product of its own.

    Cycles, with M, N, K of the tile, are folds times cycles per fold (Samajdar et al., "A systematic methodology for
    characterizing scalability of DNN accelerators using SCALE-Sim", ISPASS 2020, equations 3-6):

    ========  =======================  ==================
    dataflow  folds                    cycles per fold
    ========  =======================  ==================
    os        ceil(M/rows)·ceil(N/cols)  K + rows + cols - 2
    ws        ceil(K/rows)·ceil(N/cols)  M + 2·rows + cols - 2
    is        ceil(K/rows)·ceil(M/cols)  N + 2·rows + cols - 2
    ========  =======================  ==================

    or the bytes that the folds move over the bandwidth of the unit's memory, when that takes longer. A fold of ws and
    is is a fill (the stationary operand is shifted in, `rows` cycles), the streamed words and a skew (`rows + cols - 2`
    cycles from the first element to the last); one of os has no fill, and with `shift_out` a drain of `rows` cycles, in
    which results leave through the elements (the paper counts it, SCALE-Sim 3.0.0 does not). With `overlap`, all of
    them, or those that it names, hide behind the neighbouring folds: behind a fill or a drain the stationary operand or
    the results have shadow registers, and a fold then takes at least `rows` cycles. The hidden rest of the first fold
    is latency.

    With several `arrays`, `deals` says what each of them gets, and the one with the largest share decides: `folds`, one
    after the other, or equal parts of M (`rows`), of N (`columns`), of K (`contraction`) or of the groups. A part fills
    its arrays' sides where that makes no share longer, so that fewer arrays than there are may get one. Arrays that
    work on parts of M want the same words of B at the same time, those with parts of N the same of A: with `multicast`
    these are read from the memory once, without it once per array. Partial sums of parts of K are added up in the
    memory, written and read back, or with `adders` on their way there. Of `folds`, if there are fewer than arrays, the
    streamed rank of ws and is is cut into as many equal parts as arrays are free for a fold, each part with its own
    copy of the stationary operand; words are those of one array that runs all folds. A variant of another deal than
    `folds` has its name behind a slash: `ws/columns`.

    Operands wider than `mac_bits` are multiplied in slices, ceil(a/mac_bits)·ceil(b/mac_bits) products each
    (Sharma et al., "Bit Fusion", ISCA 2018), as if K were so much longer. Narrower ones are no faster.

    With `sparsity: skipping`, weights with an N:M of `sparse_ratios` are read and multiplied as if K were so much
    shorter, N/M of it, and the other operand is read in full: a multiplexer in front of each element chooses (Mishra et
    al., "Accelerating Sparse Deep Neural Networks", 2021, section 3). Groups of M lie along `ir.group_rank`; one that
    a tile cuts counts as if it began with the tile. Zeros that lie at random are not skipped.

    Where a memory has banks (`bank_width` of a buffer), a stream or shift lasts longer by what it waits for them
    (`systolic_banks`), N:M weights as if they were dense. Folds that run side by side as `folds` do not disturb each
    other; arrays with parts of one product do, the last one as if its part were as large as the others.

    With `timing: scalesim` the array is that of SCALE-Sim 3.0.0 in its bandwidth mode CALC, read from its source: the
    table above whatever the memories' bandwidth and banks, one word per operand of any width, and every fold of ws and
    is writes all its partial results and reads none back. Of os it counts, beside the results, rows + cols writes per
    fold (systolic_compute_os.py, `create_ofmap_demand_mat`), and so does this.
    """

    kind: Literal["systolic"] = "systolic"
    rows: Annotated[int, Field(ge=1, le=2**20, description="Processing elements per column.")]
    cols: Annotated[int, Field(ge=1, le=2**20, description="Processing elements per row.")]
    arrays: Annotated[int, Field(ge=1, le=2**20, description="Equal arrays that share the work.")] = 1
    dataflows: Annotated[
        tuple[Dataflow, ...],
        Field(description="What may be stationary: outputs (os), second (ws) or first (is) operand."),
    ] = ("os", "ws", "is")
    timing: Annotated[
        Literal["physical", "scalesim"],
        Field(description="`scalesim`: cycles and counts of SCALE-Sim 3.0.0 in mode CALC, where nothing waits."),
    ] = "physical"
    deals: Annotated[
        tuple[Deal, ...],
        Field(description="How several arrays may share the work: as folds, or equal parts of rows (M), columns (N), "
                          "the contraction (K) or groups."),
    ] = ("folds",)  # fmt: skip
    multicast: Annotated[
        bool, Field(description="A word that several arrays want at a time is read from memory once.")
    ] = True  # fmt: skip
    adders: Annotated[
        bool, Field(description="Partial results of several arrays are added up on their way to memory, not in it.")
    ] = False  # fmt: skip
    overlap: Annotated[
        bool | tuple[Hidden, ...],
        Field(description="What hides behind the neighbouring folds: all (true), nothing, or some of fill, skew, "
                          "drain."),
    ] = False  # fmt: skip
    shift_out: Annotated[
        bool, Field(description="Results of os leave through the elements, one row per cycle, after a fold.")
    ] = False  # fmt: skip
    arithmetic: Annotated[Arithmetic, Field(description="`int` or `float`: for the default energy.")] = "int"
    mac_bits: Annotated[int, Field(ge=1, le=64, description="Operand width that a MAC multiplies at once.")] = 8
    accumulator_bits: Annotated[int, Field(ge=1, le=128, description="Width of partial sums.")] = 32
    accumulators: Annotated[
        Bytes | None, Field(description="Memory for partial sums beside each array; those that fit stay there.")
    ] = None
    mac_energy: Annotated[Energy | None, Field(description="Of one multiply-accumulate.")] = None
    register_energy: Annotated[
        EnergyPerByte | None, Field(description="Of the registers between processing elements, per byte passed on.")
    ] = None

    actions: ClassVar[Mapping[str, Quantity]] = MappingProxyType({"mac": ENERGY, "register": ENERGY_PER_BYTE})

    @field_validator("dataflows", "deals")
    @classmethod
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or len(set(value)) != len(value):
            raise ValueError("name at least one, none twice")
        return value

    @model_validator(mode="after")
    def _one_plain_array(self) -> Self:
        more = self.overlap or self.shift_out or self.arrays > 1 or self.accumulators is not None
        if self.timing == "scalesim" and more:
            raise ValueError("timing `scalesim` knows one array without `overlap`, `shift_out` and `accumulators`")
        if self.timing == "scalesim" and self.sparsity != "none":
            raise ValueError("timing `scalesim` knows no sparsity")
        if self.sparsity == "skipping" and not self.sparse_ratios:
            raise ValueError("`sparsity: skipping` needs sparse_ratios, such as [2:4]")
        return self

    @property
    def hidden(self) -> frozenset[Hidden]:
        """What of a fold hides behind its neighbours."""
        if isinstance(self.overlap, bool):
            return frozenset(get_args(Hidden) if self.overlap else ())
        return frozenset(self.overlap)

    def peak_rates(self) -> Mapping[str, float]:
        return {"mac": float(self.rows * self.cols * self.arrays)}

    def rates_on(self, einsum: Einsum, bits: Sequence[int]) -> Mapping[str, float]:
        if not einsum.is_contraction:
            return self.peak_rates()
        used = used_elements(einsum, self.least_slices(einsum, bits), self.dataflows, self.rows, self.cols)
        return {"mac": float(used * self.arrays)}

    def least_reads(self, einsum: Einsum) -> tuple[float, ...]:
        if not einsum.is_contraction:
            return super().least_reads(einsum)
        # Arrays that deal out one side of a product act as one with so long a side.
        return least_reads(einsum, self.dataflows, self.rows * self.arrays, self.cols * self.arrays)

    def least_cycles(self, einsum: Einsum, variant: str = "") -> float:
        """Folds of the whole product: tiles make no fewer folds, and no shorter ones together.

        Not so where folds that are fewer than arrays are cut into parts, or where zeros are skipped.
        """
        c = contraction(einsum)
        if c is None or self.arrays > 1 or self.skipped is not None:
            return super().least_cycles(einsum, variant)
        sizes = [np.asarray(prod(einsum.sizes[r] for r in ranks)) for ranks in (c.g, c.m, c.n, c.k)]
        dataflow, _, _ = variant.partition("/")  # one array has nothing to deal
        return float(min(self._run(d, "folds", *sizes).service for d in self.dataflows if dataflow in ("", d)))

    def least_slices(self, einsum: Einsum, bits: Sequence[int]) -> int:
        return 1 if self.timing == "scalesim" else mac_slices(einsum, bits, self.mac_bits)

    def least_actions(self, einsum: Einsum, bits: Sequence[int]) -> Mapping[str, float]:
        return least_mac_actions(self, einsum, bits)

    def spatial_options(self, einsum: Einsum) -> Sequence[SpatialOption]:
        """The array's dataflows and deals, fewest cycles for the whole Einsum first; none if it is no contraction."""
        c = contraction(einsum)
        if c is None:
            return ()
        g, m, n, k = (np.asarray(prod(einsum.sizes[r] for r in ranks)) for ranks in (c.g, c.m, c.n, c.k))
        deals = self.deals if self.arrays > 1 else self.deals[:1]
        runs = {(d, deal): self._run(d, deal, g, m, n, k) for d in self.dataflows for deal in deals}
        ways = sorted(runs, key=lambda way: int(runs[way].service + runs[way].latency))
        return tuple(_option(*way, c) for way in ways)

    def cost(
        self,
        einsum: Einsum,
        option: SpatialOption,
        extents: Extents,
        bits: Sequence[int],
        *,
        resumed: bool = False,
        unfinished: bool = False,
    ) -> Cost:
        """Cost of tiles, see the class; ``mac`` and ``register`` (bytes passed between elements) are counted.

        Raises:
            BadInput: the Einsum is not a contraction, or the array does not have the dataflow.
            UnsupportedPrecision: it does not compute with operands of these widths.
        """
        c = contraction(einsum)
        dataflow, deal = self._way(einsum, option.variant)
        assert c is not None
        self.check_widths(einsum, bits)
        one = tile_shape(einsum, extents)
        g, m, n, k = (_product(one, extents, ranks) for ranks in (c.g, c.m, c.n, c.k))
        a_bits, b_bits, out_bits = bits[0], bits[1], bits[-1]
        if self.timing == "scalesim":
            return self._scalesim_cost(dataflow, (g, m, n, k), (a_bits, b_bits, out_bits))
        a_slices, b_slices = -(-a_bits // self.mac_bits), -(-b_bits // self.mac_bits)
        run, a_k, b_k = self._left(einsum, extents, k)
        macs = share_of(g * m * n * run * (a_slices * b_slices), self.gated)
        work = self._run(dataflow, deal, g, m, n, run * (a_slices * b_slices))
        reads = (bytes_of(work.a * a_k * b_slices, a_bits), bytes_of(work.b * b_k * a_slices, b_bits))
        results = g * m * n
        # Partial results between tiles pass through the memory too, unless the accumulators hold the tile's.
        kept = work.kept * self.accumulator_bits <= 8 * (self.accumulators or 0)
        between = np.where(kept, 0, bytes_of(results, self.accumulator_bits))
        partial = bytes_of(np.where(kept & unfinished, 0, work.again), self.accumulator_bits)
        writes = partial + (between if unfinished else bytes_of(results, out_bits))
        partial = partial + between * resumed
        fed = self.feed_cycles(reads, writes, partial)
        word_bits = -(-a_bits // a_slices) + -(-b_bits // b_slices) + self.accumulator_bits
        actions = {"mac": macs, "register": bytes_of(macs, word_bits)}
        cycles = np.maximum(work.service, fed)
        if self._banks:
            free = cycles
            cycles = np.maximum(self._stalled(einsum, (dataflow, deal), extents, bits, work), fed)
            actions[CONFLICT] = cycles - free
        return Cost(
            cycles=cycles,
            latency=work.latency,
            reads=reads,
            writes=writes,
            partial_reads=partial,
            actions=actions,
        )

    def _stalled(
        self, einsum: Einsum, way: tuple[Dataflow, Deal], extents: Extents, bits: Sequence[int], work: _Run
    ) -> IntArray:
        """Service with what the array waits for banks; see `systolic_banks`."""
        c = contraction(einsum)
        assert c is not None
        ranks, roles = {"g": c.g, "m": c.m, "n": c.n, "k": c.k}, rank_roles(einsum)
        (dataflow, deal), one = way, np.ones_like(work.service)
        along = {"os": ("m", "n"), "ws": ("k", "n"), "is": ("k", "m")}[dataflow]
        dealt = _LETTERS.get(deal, "")

        def waits(tile: Mapping[str, int], passes: int, steps: int) -> tuple[int, int]:
            sizes = {letter: prod(tile[r] for r in names) for letter, names in ranks.items()}
            part = 0
            if dealt:  # of K as it is run, with slices and without zeros, as much as of its points
                run = steps if dealt == "k" else sizes[dealt]
                part = -(-int(self._part(dataflow, deal, np.asarray(run))) * sizes[dealt] // run)
            shape = Shape(
                dict(zip(along, (self.rows, self.cols), strict=True)), sizes, dealt, part, passes,
                Fraction(steps, sizes["k"]), self.multicast, self.adders,
            )  # fmt: skip
            placed = self.in_banks(einsum, tile, (*bits[:2], self.accumulator_bits if passes > 1 else bits[-1]), roles)
            found = stream_and_shift_waits(dataflow, placed, c, shape)
            streamed, shifted = (-(-n // (1 if dealt else self.arrays)) for n in found)
            return streamed, shifted

        streamed, shifted = self.over_tiles(one, extents, waits, work.passes, work.steps)
        if ("drain" if dataflow == "os" else "fill") in self.hidden:
            return np.asarray(np.maximum(work.streaming + streamed, work.rounds * self.rows + shifted), np.int64)
        return work.service + streamed + shifted

    def _way(self, einsum: Einsum, variant: str) -> tuple[Dataflow, Deal]:
        """Dataflow and deal of a variant."""
        dataflow, _, deal = variant.partition("/")
        able = [f"{d}{_suffix(deal)}" for d in self.dataflows for deal in self.deals]
        if not einsum.is_contraction or variant not in able:
            can = ", ".join(able) if einsum.is_contraction else "none: it is not a sum of products of two inputs"
            raise BadInput(f"{self.name or self.kind}: cannot run {einsum.name} as `{variant}` (can: {can})")
        return cast(Dataflow, dataflow), cast(Deal, deal or "folds")

    def _left(self, einsum: Einsum, extents: Extents, k: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        """K that is run, and of which either operand is read, when zeros of N:M weights are skipped."""
        skipped = self.skipped
        rank = None if skipped is None else group_rank(einsum, skipped.operand)
        if skipped is None or skipped.ratio is None or rank is None:
            return k, k, k
        left = k // extents[rank] * shortened(np.asarray(extents[rank]), skipped.ratio)
        return (left, left, k) if skipped.operand == 0 else (left, k, left)

    def _scalesim_cost(
        self, dataflow: str, gmnk: tuple[IntArray, IntArray, IntArray, IntArray], bits: tuple[int, int, int]
    ) -> Cost:
        """What SCALE-Sim counts: words that enter and leave the array, tile after tile, partial results among them."""
        g, m, n, k = gmnk
        row_folds, col_folds, stream = self._folds(dataflow, m, n, k)
        cycles, latency, _ = self._cycles(dataflow, g * row_folds * col_folds, stream)
        a_words, b_words, results = g * m * k, g * k * n, g * m * n
        if dataflow == "os":
            a_words, b_words = a_words * col_folds, b_words * row_folds
            results = results + g * row_folds * col_folds * (self.rows + self.cols)
        else:
            a_words = a_words * (col_folds if dataflow == "ws" else 1)
            b_words = b_words * (col_folds if dataflow == "is" else 1)
            results = results * row_folds
        macs = g * m * n * k
        return Cost(
            cycles=cycles,
            latency=latency,
            reads=(bytes_of(a_words, bits[0]), bytes_of(b_words, bits[1])),
            writes=bytes_of(results, bits[2]),
            partial_reads=np.zeros_like(cycles),
            actions={"mac": macs, "register": bytes_of(macs, bits[0] + bits[1] + self.accumulator_bits)},
        )

    def _folds(self, dataflow: str, m: IntArray, n: IntArray, k: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        """Folds along rows and columns, and the streamed length of each."""
        along_rows, along_cols, stream = {"os": (m, n, k), "ws": (k, n, m), "is": (k, m, n)}[dataflow]
        return -(-along_rows // self.rows), -(-along_cols // self.cols), stream

    def _cycles(self, dataflow: str, folds: IntArray, stream: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        """Service and latency of folds that one array runs one after the other, and service but for hidden shifting."""
        moving = "drain" if dataflow == "os" else "fill"  # through the elements, one row per cycle
        parts = {
            "skew": self.rows + self.cols - 2,
            moving: self.rows if dataflow != "os" or self.shift_out else 0,
        }
        left = sum(cycles for part, cycles in parts.items() if part not in self.hidden)
        interval = stream + left
        streaming = folds * interval
        if moving in self.hidden:
            interval = np.maximum(interval, self.rows)
        return folds * interval, stream + sum(parts.values()) - interval, streaming

    def _run(self, dataflow: str, deal: Deal, g: IntArray, m: IntArray, n: IntArray, k: IntArray) -> _Run:
        if deal == "folds":
            return self._run_of_folds(dataflow, g, m, n, k)
        sizes, at = (g, m, n, k), "gmnk".index(_LETTERS[deal])
        size = sizes[at]
        part = self._part(dataflow, deal, size)
        used = -(-size // part)
        full, last = (
            self._share(dataflow, *(x if i == at else other for i, other in enumerate(sizes)))
            for x in (part, size - (used - 1) * part)
        )

        def all_of(largest: IntArray, smallest: IntArray) -> IntArray:
            return (used - 1) * largest + smallest

        a, b = all_of(full.a, last.a), all_of(full.b, last.b)
        if deal == "contraction":
            a, b = full.a, full.b  # per point of K, of which every array has its own
        elif self.multicast and deal == "rows":
            b = full.b
        elif self.multicast and deal == "columns":
            a = full.a
        again = all_of(full.again, last.again)
        if deal == "contraction":
            again = full.again if self.adders else again + (used - 1) * (g * m * n)
        return replace(full, a=a, b=b, again=again, steps=k)

    def _part(self, dataflow: str, deal: Deal, size: IntArray) -> IntArray:
        """What one array gets of the points that a deal shares."""
        side = {
            "os": {"rows": self.rows, "columns": self.cols},
            "ws": {"contraction": self.rows, "columns": self.cols},
            "is": {"contraction": self.rows, "rows": self.cols},
        }[dataflow].get(deal, 1)
        least = -(-size // self.arrays)
        return np.minimum(size, -(-least // side) * side)

    def _share(self, dataflow: str, g: IntArray, m: IntArray, n: IntArray, k: IntArray) -> _Run:
        """What one array runs by itself."""
        row_folds, col_folds, stream = self._folds(dataflow, m, n, k)
        return self._words(dataflow, (g, m, n, k), (row_folds, col_folds, stream), g * row_folds * col_folds)

    def _run_of_folds(self, dataflow: str, g: IntArray, m: IntArray, n: IntArray, k: IntArray) -> _Run:
        """Folds that are dealt out to the arrays."""
        row_folds, col_folds, stream = self._folds(dataflow, m, n, k)
        folds = g * row_folds * col_folds
        copies = np.ones_like(folds)
        if self.arrays > 1 and dataflow != "os":
            stream = -(-stream // np.clip(self.arrays // folds, 1, stream))
            copies = -(-(m if dataflow == "ws" else n) // stream)
        rounds = -(-folds // self.arrays)  # with more than one part, all parts of all folds run at once
        return self._words(dataflow, (g, m, n, k), (row_folds, col_folds, stream), rounds, copies)

    def _words(
        self,
        dataflow: str,
        sizes: tuple[IntArray, IntArray, IntArray, IntArray],
        folds: tuple[IntArray, IntArray, IntArray],
        rounds: IntArray,
        copies: IntArray | int = 1,
    ) -> _Run:
        """Of folds along rows and columns with a streamed length, so many parts of which hold the same words."""
        (g, m, n, k), (row_folds, col_folds, stream) = sizes, folds
        if dataflow == "os":
            passes, a, b = np.ones_like(row_folds), g * m * col_folds, g * n * row_folds
        else:
            a, b = (g * m * col_folds, g * n * copies) if dataflow == "ws" else (g * m * copies, g * n * col_folds)
            held = stream * np.minimum(n if dataflow == "ws" else m, self.cols) * self.accumulator_bits
            passes = np.where(held <= 8 * (self.accumulators or 0), 1, row_folds)
        time = self._cycles(dataflow, rounds, stream)
        return _Run(*time, a, b, g * m * n * (passes - 1), g * m * n, k, rounds, passes)

    def prices(self) -> Mapping[str, Price]:
        return mac_prices(self)

    def default_area(self) -> Figure | None:
        """That of the MACs; registers, accumulators and control are left out where the cited figure leaves them out."""
        return area_of_macs(self, self.rows * self.cols * self.arrays)


def _suffix(deal: Deal) -> str:
    return "" if deal == "folds" else f"/{deal}"


def _option(dataflow: Dataflow, deal: Deal, c: Contraction) -> SpatialOption:
    rows, cols = {"os": (c.m, c.n), "ws": (c.k, c.n), "is": (c.k, c.m)}[dataflow]
    along = dict.fromkeys(rows, "rows") | dict.fromkeys(cols, "columns")
    dealt = {"groups": c.g, "rows": c.m, "columns": c.n, "contraction": c.k, "folds": ()}[deal]
    for r in dealt:
        along[r] = f"{along[r]}, arrays" if r in along else "arrays"
    return SpatialOption(f"{dataflow}{_suffix(deal)}", along)


def _product(one: IntArray, extents: Extents, ranks: Sequence[str]) -> IntArray:
    result = one
    for r in ranks:
        result = result * extents[r]
    return result
