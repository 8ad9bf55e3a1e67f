"""The multiprocessors of a GPU: products as kernels of thread blocks, dealt out in waves."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from ..arch.component import Price
from ..arch.energy import Arithmetic, Figure
from ..arch.units import ENERGY, ENERGY_PER_BYTE, Energy, EnergyPerByte, Quantity, Time
from ..errors import BadInput
from ..ir import Einsum, contraction
from .base import ComputeUnit, Cost, Extents, IntArray, SpatialOption, bytes_of
from .elementwise import Points
from .macs import area_of_macs, least_mac_actions, mac_prices, mac_slices

BLOCKS = "blocks"
_PARTS = (1, 2, 3, 4, 6, 8, 12, 16)
"""Of K, that a library may make."""
_LEAST_PART = 256
"""Points of K in a part: less is no longer a loop worth a block."""
_SHAPE = re.compile(r"([1-9]\d{0,5})x([1-9]\d{0,5})")


class Multiprocessors(ComputeUnit):
    """`count` multiprocessors that run contractions O[g,m,n] = sum(k) A[g,m,k] * B[g,k,n] as kernels of thread blocks.

    A block computes rows × cols results, padding included, and reads (rows + cols)·K operands through its
    multiprocessor's port, whichever takes longer. Blocks are dealt out one to a multiprocessor, and the next one begins
    where one has ended: B blocks take ceil(B/count) times as long as one (wave quantisation; NVIDIA, "Matrix
    Multiplication Background User's Guide", DU-09798). The memory's bandwidth is shared by all blocks. Of a tile,
    B/count times a block is service, but at least one; what the last wave takes longer is latency, for the blocks of a
    tile that follows begin on multiprocessors that are done.

    Of a `cluster` of blocks next to each other in a row or a column of results, whichever saves more, the operand that
    they have in common is read from the memory once and reaches all of them (thread block clusters with multicast;
    NVIDIA H100 architecture paper); each takes it in through its own port.

    The operands of a block pass the `shared` memory of its multiprocessor, written once and read by the tensor cores:
    once for each fragment of the results, of which registers hold one for every warp. Blocks with small fragments wait
    for it (NVIDIA, "CUTLASS: efficient GEMM", on warp tiles).

    All multiprocessors together do at most `sustained` of their peak rate in actual products, padding not counted: a
    chip that is full slows down under its own load, one with idle multiprocessors does not. So what a last wave leaves
    idle costs nothing as long as the others have that much to spare.

    Where there are fewer blocks than multiprocessors, K may be cut in parts (split-K), at most as many as give every
    block a multiprocessor. Partial sums then pass the memory, and `split_overhead` is taken besides, by the kernel that
    adds them up. Of all `blocks` and parts the unit takes what is done first, as a library that knows the machine.
    Where every block has a multiprocessor, sums stay in registers from one tile along K to the next.

    Operands wider than `mac_bits` are multiplied in slices, as if K were so much longer; narrower ones are no faster.
    """

    kind: Literal["multiprocessors"] = "multiprocessors"
    count: Annotated[int, Field(ge=1, le=2**16, description="Multiprocessors.")]
    macs: Annotated[int, Field(ge=1, le=2**20, description="Multiply-adds per cycle of one of them.")]
    blocks: Annotated[
        tuple[str, ...], Field(description="Results of a thread block, rows x columns; the fastest kernel is taken.")
    ] = ("128x128",)
    port: Annotated[
        int | None, Field(ge=1, le=2**20, description="Bytes per cycle that one of them reads; default: no limit.")
    ] = None  # fmt: skip
    shared: Annotated[
        int | None, Field(ge=1, le=2**20, description="Bytes per cycle of the shared memory of one; default: no limit.")
    ] = None  # fmt: skip
    fragment: Annotated[
        str, Field(description="Most results whose operands are read from shared memory together, rows x columns.")
    ] = "64x64"
    fragments: Annotated[
        int, Field(ge=1, le=64, description="Of a block at least, so that all tensor cores work.")
    ] = 4  # fmt: skip
    cluster: Annotated[
        int, Field(ge=1, le=16, description="Neighbouring blocks that read what they have in common once.")
    ] = 1  # fmt: skip
    sustained: Annotated[
        float | None, Field(gt=0, le=1, description="Share of the peak rate that all of them together keep up.")
    ] = None  # fmt: skip
    split_overhead: Annotated[Time, Field(ge=0, description="Of a kernel that adds up parts of K.")] = 0.0
    arithmetic: Annotated[Arithmetic, Field(description="`int` or `float`: for the default energy.")] = "float"
    mac_bits: Annotated[int, Field(ge=1, le=64, description="Operand width that a MAC multiplies at once.")] = 16
    accumulator_bits: Annotated[int, Field(ge=1, le=128, description="Width of partial sums.")] = 32
    mac_energy: Annotated[Energy | None, Field(description="Of one multiply-accumulate.")] = None
    register_energy: Annotated[
        EnergyPerByte | None, Field(description="Of registers, per byte of the operands and the sum of a MAC.")
    ] = None

    actions: ClassVar[Mapping[str, Quantity]] = MappingProxyType({"mac": ENERGY, "register": ENERGY_PER_BYTE})

    @field_validator("blocks")
    @classmethod
    def _shapes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [text for text in value if not _SHAPE.fullmatch(text)]
        if wrong or not value or len(set(value)) != len(value):
            raise ValueError(f"rows x columns, each once, such as 128x128 (not {', '.join(wrong) or 'none or twice'})")
        return value

    @field_validator("fragment")
    @classmethod
    def _fragment(cls, value: str) -> str:
        if not _SHAPE.fullmatch(value):
            raise ValueError(f"rows x columns, such as 64x64 (not {value})")
        return value

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """(rows, columns) of every kind of block."""
        return _sizes(self.blocks)

    def peak_rates(self) -> Mapping[str, float]:
        return {"mac": float(self.count * self.macs)}

    def least_slices(self, einsum: Einsum, bits: Sequence[int]) -> int:
        return mac_slices(einsum, bits, self.mac_bits)

    def least_actions(self, einsum: Einsum, bits: Sequence[int]) -> Mapping[str, float]:
        return least_mac_actions(self, einsum, bits)

    def spatial_options(self, einsum: Einsum) -> Sequence[SpatialOption]:
        """One, for a contraction: ``blocks``."""
        c = contraction(einsum)
        if c is None:
            return ()
        along = dict.fromkeys((*c.g, *c.m, *c.n), "multiprocessors")
        return (SpatialOption(BLOCKS, along),)

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
        """Cost of tiles, see the class; ``mac`` and ``register`` (bytes of operands and sums) are counted.

        Raises:
            BadInput: the Einsum is no contraction.
        """
        c = contraction(einsum)
        if c is None or option.variant != BLOCKS:
            raise BadInput(f"{self.name or self.kind}: cannot run {einsum.name} as `{option.variant}` "
                           f"(can: {BLOCKS if c else 'none: it is not a sum of products of two inputs'})")  # fmt: skip
        points = Points(einsum, extents)
        tile = np.broadcast_arrays(*(points.of(frozenset(ranks)) for ranks in (c.g, c.m, c.n, c.k)))
        a_slices, b_slices = -(-bits[0] // self.mac_bits), -(-bits[1] // self.mac_bits)
        done_by = partial(self._kernels, slices=(a_slices, b_slices), bits=bits, resumed=resumed, unfinished=unfinished)
        best = [x.reshape(tile[0].shape) for x in self._fastest(np.stack([x.ravel() for x in tile]), done_by)]
        g, m, n, k = tile
        macs = g * m * n * k * (a_slices * b_slices)
        word_bits = -(-bits[0] // a_slices) + -(-bits[1] // b_slices) + self.accumulator_bits
        actions = {"mac": macs, "register": bytes_of(macs, word_bits)}
        return Cost(best[0], best[1], (best[2], best[3]), best[4], best[5], actions)

    def _fastest(self, tile: IntArray, done_by: Callable[..., Sequence[IntArray]]) -> Sequence[IntArray]:
        """Of all kernels the one that is done first for each tile, of equals the first block and then the fewest parts;
        as `_kernels` has it. `tile`: its g, m, n, k in rows.

        Where K cannot be cut in two it cannot be cut at all: only the other tiles are looked at with parts of K.
        """
        shapes = self._kinds
        found = done_by(tile, shapes[:, :, None], np.int64(1))
        whole = _blocks(tile, shapes[:, :, None])
        which, cut = np.nonzero((whole * _PARTS[1] <= self.count) & (tile[3] >= _PARTS[1] * _LEAST_PART))
        if len(cut):
            there, of, parts = tile[:, cut], shapes[:, which], np.array(_PARTS, np.int64)[:, None]
            allowed = (_blocks(there, of) * parts <= self.count) & (there[3] >= parts * _LEAST_PART)
            for x, y in zip(found, _first_done(done_by(there, of, np.where(allowed, parts, 1))), strict=True):
                x[which, cut] = y
        return _first_done(found)

    def _kernels(
        self, tile: IntArray, shape: IntArray, parts: IntArray | np.int64, *, slices: tuple[int, int],
        bits: Sequence[int], resumed: bool, unfinished: bool,
    ) -> Sequence[IntArray]:  # fmt: skip
        """Cycles of service and latency, bytes of both operands, and of results written and partial ones read.

        Args:
            tile: g, m, n, k in rows.
            shape: of blocks, as in `_kinds`.
            parts: that K is cut in.
        """
        g, m, n, k = tile
        rows, cols = shape[:2]
        a_slices, b_slices = slices
        results = g * m * n
        across, down = -(-m // rows), -(-n // cols)
        whole = _blocks(tile, shape)
        blocks = whole * parts
        block = self._block(-(-k // parts), shape, a_slices * b_slices, bits)
        service = np.maximum(block, -(-blocks * block // self.count))
        tail = -(-blocks // self.count) * block
        if self.sustained is not None:
            macs = results * k * (a_slices * b_slices)
            service = np.maximum(service, np.ceil(macs / (self.count * self.macs * self.sustained)).astype(np.int64))
        tail = np.maximum(tail - service, 0)
        a = bytes_of(g * m * k * down * b_slices, bits[0])
        b = bytes_of(g * n * k * across * a_slices, bits[1])
        if self.cluster > 1:
            once_a = bytes_of(g * m * k * -(-down // self.cluster) * b_slices, bits[0])
            once_b = bytes_of(g * n * k * -(-across // self.cluster) * a_slices, bits[1])
            along_row = a - once_a > b - once_b
            a, b = np.where(along_row, once_a, a), np.where(along_row, b, once_b)
        # One block each: sums stay in registers from tile to tile, and parts are added up after the last.
        sums = bytes_of(results, self.accumulator_bits)
        cut = blocks > whole
        joined, between = np.where(cut, sums * parts, 0), np.where(blocks <= self.count, 0, sums)
        writes = joined + (between if unfinished else bytes_of(results, bits[-1]))
        again = joined + between * resumed
        service = np.maximum(service, 1) + np.where(cut, self._overhead, 0)
        service = np.maximum(service, self.feed_cycles((a, b), writes, again))
        return np.broadcast_arrays(service, tail, a, b, writes, again)

    def _block(self, part: IntArray, shape: IntArray, slices: int, bits: Sequence[int]) -> IntArray:
        """Cycles of one block over so many points of K: for the products, at the port and at the shared memory."""
        rows, cols, of_a, of_b = shape
        cycles: IntArray = -(-rows * cols * part * slices // self.macs)
        for rate, a, b in ((self.port, rows, cols), (self.shared, of_a, of_b)):
            if rate is not None:
                cycles = np.maximum(cycles, -(-(bytes_of(a * part, bits[0]) + bytes_of(b * part, bits[1])) // rate))
        return cycles

    @property
    def _kinds(self) -> IntArray:
        """Rows and columns of every kind of block, and what passes the shared memory for each; kinds in columns."""
        (fragment,) = _sizes((self.fragment,))
        return _passing(self.shapes, fragment, self.fragments)

    @property
    def _overhead(self) -> int:
        """Cycles."""
        return round(self.split_overhead * self.clock_hz) if self.split_overhead else 0

    def prices(self) -> Mapping[str, Price]:
        return mac_prices(self)

    def default_area(self) -> Figure | None:
        """That of the MACs; the rest is left out where the cited figure leaves it out."""
        return area_of_macs(self, self.count * self.macs)


@lru_cache(maxsize=256)
def _sizes(texts: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """(rows, columns) of texts such as ``128x64``."""
    found = (_SHAPE.fullmatch(text) for text in texts)
    return tuple((int(m[1]), int(m[2])) for m in found if m is not None)


@lru_cache(maxsize=256)
def _passing(shapes: tuple[tuple[int, int], ...], fragment: tuple[int, int], fragments: int) -> IntArray:
    """Rows and columns of blocks, and points of either operand that pass their shared memory; blocks in columns."""
    found = np.array([(*shape, *_passed(*shape, fragment, fragments)) for shape in shapes], np.int64).T
    found.setflags(write=False)
    return found


def _passed(rows: int, cols: int, fragment: tuple[int, int], fragments: int) -> tuple[int, int]:
    """Points of either operand that pass the shared memory for each point along K of a block.

    Each is written once, and read by every fragment of the results that needs it. The longer side of a fragment is
    halved until a block has enough of them; it may lie along rows or columns.
    """
    found = []
    for height, width in (fragment, fragment[::-1]):
        height, width = min(rows, height), min(cols, width)
        while -(-rows // height) * -(-cols // width) < fragments and max(height, width) > 1:
            height, width = (height, -(-width // 2)) if width >= height else (-(-height // 2), width)
        pieces = -(-rows // height) * -(-cols // width)
        found.append((rows + pieces * height, cols + pieces * width))
    return min(found, key=sum)


def _blocks(tile: IntArray, shape: IntArray) -> IntArray:
    """Blocks of a tile (g, m, n, k in rows) where K is not cut."""
    g, m, n, _ = tile
    blocks: IntArray = g * -(-m // shape[0]) * -(-n // shape[1])
    return blocks


def _first_done(kernels: Sequence[IntArray]) -> Sequence[IntArray]:
    """Of kernels along the first axis the one done first, by service and latency: the first two."""
    first = np.argmin(kernels[0] + kernels[1], axis=0)
    return [x[first, np.arange(len(first))] for x in kernels]
