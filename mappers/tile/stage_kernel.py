# mypy: disable-error-code="no-any-return"
"""All combinations of cuts of a level's tilings, compiled: what each costs, and the best of them; see `stage`."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...components import nest_kernel
from ...components.nest_kernel import IntArray
from ...jit import stamped
from .pieces import MOST

Floats = NDArray[np.float64]

HELD, BYTES_IN, BYTES_OUT, INSTANCES, TILE, BUFFERS, PIECE, SPREAD, PASS, FIELDS = range(10)
"""Of an operand cut at one place: bytes held, moved in and out; tiles; bytes of one, and buffers for them; bytes of its
first (of a result: last) piece, and of the others that come in the first pass over it; the share of the run that this
takes."""
JOULES, TRIPS, ALONE, EDGE, TRAFFIC, MOVED, BUSY = range(7)
"""The same in the units of the objectives; from the last on cycles of every port."""
B_TIE, B_MOVED, B_VALUE, B_TRAFFIC, B_ROW, B_CUTS, B_WORDS = range(7)
BEHIND = 3
"""What is inside tiles: cycles, joules, cycles of the first load and last store; then, by operand, how often the memory
behind takes a tile over whole (0: it does not, -1: not known)."""
AHEAD = 2
"""Iterations by which pieces come ahead of their use, see `mapping.tree`."""
SAME = 1e-9
"""Ties that differ by less than this share are equal but for rounding."""

_jit = stamped(Path(__file__), Path(__file__).with_name("pieces.py"), Path(str(nest_kernel.__file__)))


class Ways(NamedTuple):
    """Ways to cut operands.

    Attributes:
        cut: by way and tiled rank, whether its loop stands around the tile.
        matters: whether the rank is one of the operand's.
        reduced: by tiled rank, whether it is added up.
        row: by way, where the bytes of its tiles are found.
        result, single: by way, whether the operand is the result, and has a single buffer.
        lead, again, more: by way and tiled rank, whether its loop is among those of `cuts.Pieces`.
    """

    cut: IntArray
    matters: IntArray
    reduced: IntArray
    row: IntArray
    result: IntArray
    single: IntArray
    lead: IntArray
    again: IntArray
    more: IntArray


@_jit
def fill(
    ways: Ways, trips: IntArray, size: IntArray, swept: IntArray, again: IntArray, sums: IntArray, lasts: IntArray,
    table: Floats,
) -> None:  # fmt: skip
    """The fields from `HELD` on of every way and tiling.

    Args:
        trips: of the loop over each tiled rank, by tiling.
        size, swept: by row and tiling, bytes of a tile, and of all different ones together.
        again: by tiling, whether there are more tiles of the extents that are cut.
        sums: by tiling, the number of those that add up to a result.
        lasts: by way and tiling, for how many of those a tile lasts.
    """
    for k in range(len(ways.cut)):
        for t in range(trips.shape[1]):
            instances, visits, partial = 1, 1, 1
            lead, passes, more = 1, 1, 1
            for r in range(len(trips)):
                lead *= trips[r, t] if ways.lead[k, r] == 1 else 1
                passes *= trips[r, t] if ways.again[k, r] == 1 else 1
                more *= trips[r, t] if ways.more[k, r] == 1 else 1
                if ways.cut[k, r] == 1:
                    instances *= trips[r, t]
                    visits *= 1 if ways.matters[k, r] == 1 else trips[r, t]
                    partial *= trips[r, t] if ways.reduced[r] == 1 else 1
            one, every = size[ways.row[k], t], swept[ways.row[k], t]
            total = every * visits / lasts[k, t]
            # Inside a tile of a level farther out the next one's tiles may come while this one's are used.
            buffers = 2 if ways.single[k] == 0 and (instances > 1 or again[t] == 1) else 1
            table[k, HELD, t], table[k, TILE, t], table[k, BUFFERS, t] = one * buffers, one, buffers
            table[k, BYTES_IN, t], table[k, BYTES_OUT, t] = total, 0.0
            table[k, INSTANCES, t] = instances / lasts[k, t]
            if ways.result[k] == 1 and partial * sums[t] > 1:  # partial results move whole
                lead, more = 1, 1
            if lead > MOST:
                lead = 1
            if lead * more > MOST:
                more = 1
            table[k, PIECE, t] = one / (lead * more)
            table[k, SPREAD, t] = max(0.0, one / lead - table[k, PIECE, t])
            table[k, PASS, t] = lasts[k, t] / (instances * lead * passes)
            if ways.result[k] == 1:
                table[k, BYTES_IN, t], table[k, BYTES_OUT, t] = total - every / sums[t], total
                if partial * sums[t] > lasts[k, t]:
                    table[k, HELD, t] *= 2


class Choices(NamedTuple):
    """Tilings and cuts of a level. A row is a tiling with a kind of orders: those of the second kind come after all
    tilings with the first.

    Attributes:
        table: by option (an operand cut at one place), the fields from `HELD` on, by tiling.
        first: of every operand the first of its options.
        cuts: combinations, the option of every operand.
        begin: of every kind of orders the first of its combinations; and the end of the last.
        single: by operand, cycles of a tile on its way: per byte, and at its start.
        rates: by operand and way (in, out), cycles per byte of every port.
        prices: by operand and way, joules per byte.
        weighs: by operand, whether its bytes count as traffic; `result`, whether it is the result.
        memory: by operand, its memory; `budgets` by memory.
        cycle, joule: weights of the aim.
        several: tiles of a tensor, more of which come while others are used.
        once: share of the first load and the last store that counts: they are those of all tiles around.
    """

    table: Floats
    first: IntArray
    cuts: IntArray
    begin: IntArray
    single: Floats
    rates: Floats
    prices: Floats
    weighs: IntArray
    result: IntArray
    memory: IntArray
    budgets: IntArray
    cycle: float
    joule: float
    several: float
    once: float


class Room(NamedTuple):
    """Room for one tiling: words of every option, value and tie of every combination, bytes by memory; the fewest bytes
    of each memory that any combination took."""

    words: Floats
    value: Floats
    tie: Floats
    held: Floats
    crowded: Floats

    @staticmethod
    def of(c: Choices) -> Room:
        options, ports, cuts = len(c.table), c.rates.shape[2], len(c.cuts)
        held = np.zeros(len(c.budgets))
        return Room(np.zeros((options, BUSY + ports)), np.zeros(cuts), np.zeros(cuts), held, np.full_like(held, np.inf))


@_jit
def _options(c: Choices, w: Room, row: int) -> None:
    for h in range(len(c.memory)):
        for k in range(c.first[h], c.first[h + 1]):
            come, gone = c.table[k, BYTES_IN, row], c.table[k, BYTES_OUT, row]
            number = c.table[k, INSTANCES, row]
            single = c.table[k, TILE, row] * c.single[h, 0] + c.single[h, 1]
            first = c.table[k, PIECE, row] * c.single[h, 0] + c.single[h, 1]
            twice = c.table[k, BUFFERS, row] > 1
            w.words[k, JOULES] = come * c.prices[h, 0] + gone * c.prices[h, 1]
            w.words[k, TRIPS] = number * single if twice else 0.0
            w.words[k, ALONE] = 0.0 if twice else number * first
            w.words[k, EDGE] = first if twice else 0.0
            w.words[k, TRAFFIC] = (come + gone) * c.weighs[h]
            w.words[k, MOVED] = number
            for p in range(c.rates.shape[2]):
                w.words[k, BUSY + p] = come * c.rates[h, 0, p] + gone * c.rates[h, 1, p]


@_jit
def _sum(c: Choices, w: Room, n: int, word: int) -> float:
    total = 0.0
    for h in range(c.cuts.shape[1]):
        total += w.words[c.cuts[n, h], word]
    return total


@_jit
def _fits(c: Choices, w: Room, row: int, n: int) -> bool:
    for m in range(len(w.held)):
        w.held[m] = 0.0
    for h in range(c.cuts.shape[1]):
        w.held[c.memory[h]] += c.table[c.cuts[n, h], HELD, row]
    fits = True
    for m in range(len(w.held)):
        w.crowded[m] = min(w.crowded[m], w.held[m])
        fits = fits and w.held[m] <= c.budgets[m]
    return fits


@_jit
def _service(c: Choices, tiling: int, n: int, h: int, p: int) -> float:
    """Cycles for which a tile of an operand takes a port, on the mean."""
    k = c.cuts[n, h]
    if c.result[h] == 0:
        return c.table[k, TILE, tiling] * c.rates[h, 0, p]
    gone = c.table[k, BYTES_OUT, tiling]
    back = c.table[k, BYTES_IN, tiling] / gone if gone > 0 else 0.0
    return c.table[k, TILE, tiling] * (c.rates[h, 1, p] + back * c.rates[h, 0, p])


@_jit
def _in_pieces(c: Choices, tiling: int, k: int) -> bool:
    return c.table[k, PIECE, tiling] < c.table[k, TILE, tiling]


@_jit
def _lasting(behind: float, number: float) -> float:
    """Tiles for which the buffers of an operand last, if the memory behind takes so many of them over whole."""
    return 2.0 if behind < 0 or abs(behind - number) <= SAME * number else 1.0


@_jit
def _crowding(c: Choices, tiling: int, row: int, n: int, inside: Floats, time: float) -> float:
    """Cycles for which the unit waits because a tile must wait for one of another operand at a port that serves one
    after the other, both of them whole: as often as the rarer one comes, as far as both together take longer than the
    other one's buffers last. They last for one tile, for two if the memory behind takes it over whole."""
    waits = 0.0
    for h in range(c.cuts.shape[1]):
        k = c.cuts[n, h]
        number = c.table[k, INSTANCES, tiling]
        if number <= c.several or c.table[k, BUFFERS, tiling] < 2 or _in_pieces(c, tiling, k):
            continue
        window = time / number * _lasting(inside[BEHIND + h, row], number)
        for g in range(c.cuts.shape[1]):
            j = c.cuts[n, g]
            rarer = c.table[j, INSTANCES, tiling]
            if rarer <= c.several or rarer > number or (rarer == number and g < h):
                continue
            if g == h or _in_pieces(c, tiling, j):
                continue
            for p in range(c.rates.shape[2]):
                mine, other = _service(c, tiling, n, h, p), _service(c, tiling, n, g, p)
                if mine > 0 and other > 0:
                    waits += rarer * max(0.0, mine + other - window)
    return waits


@_jit
def _part(c: Choices, tiling: int, k: int, result: bool) -> tuple[float, float]:
    """The part of the run, from and to, in which an operand passes: a load in pieces in the first of several passes
    over all of them, a result so in the last one; what passes whole and once, before and after it; others all the
    time."""
    if c.table[k, INSTANCES, tiling] > c.several:
        return 0.0, 1.0
    if not _in_pieces(c, tiling, k):
        return 0.0, 0.0
    share, first = c.table[k, PASS, tiling], c.table[k, PIECE, tiling] + c.table[k, SPREAD, tiling]
    if c.table[k, SPREAD, tiling] <= 0 or share >= 1 or first < c.table[k, TILE, tiling]:
        return 0.0, 1.0
    return (1 - share, 1.0) if result else (0.0, share)


@_jit
def _crowded(
    c: Choices, w: Room, tiling: int, n: int, h: int, begin: float, end: float, share: float, cycles: float, time: float
) -> float:
    """Cycles beyond `time` if a share of what an operand moves passes in one part of the run, and what else passes then
    beside it."""
    k, wait = c.cuts[n, h], 0.0
    once = c.table[k, INSTANCES, tiling] <= c.several
    for p in range(c.rates.shape[2]):
        own = w.words[k, BUSY + p]
        if c.rates[h, c.result[h], p] * own == 0:
            continue
        within, without = own * share, own * (1 - share)
        for g in range(c.cuts.shape[1]):
            amount = w.words[c.cuts[n, g], BUSY + p]
            first, last = _part(c, tiling, c.cuts[n, g], c.result[g] == 1)
            if g != h and last > first and amount > 0:
                part = end - begin
                if once:
                    part = max(0.0, min(end, last) - max(begin, first)) / (last - first)
                here = amount * part
                if c.result[g] == 0:
                    here = min(amount, here + c.table[c.cuts[n, g], PIECE, tiling] * c.rates[g, 0, p])
                within, without = within + here, without + amount - here
        part = end - begin
        wait = max(wait, max(part * cycles, within) + max((1 - part) * cycles, without) - time)
    return wait


@_jit
def _behind(c: Choices, w: Room, tiling: int, n: int, cycles: float, time: float) -> tuple[float, float]:
    """Cycles for which the unit waits for the pieces of tiles that come more slowly, beside what else passes then, than
    the first pass over them uses them (results: leave than the last pass makes them), the longest of all operands: of
    those with a single buffer tile by tile, of the others for the first tile. All of a load has come before the last
    passes over its last pieces, and no result leaves before the first passes over its first ones."""
    alone, edge = 0.0, 0.0
    for h in range(c.cuts.shape[1]):
        k = c.cuts[n, h]
        spread, number = c.table[k, SPREAD, tiling], c.table[k, INSTANCES, tiling]
        if spread <= 0:
            continue
        result, size = c.result[h] == 1, c.table[k, TILE, tiling]
        part = min(1.0, c.table[k, PASS, tiling] * number)
        begin, end = (1 - part, 1.0) if result else (0.0, part)
        wait = _crowded(c, w, tiling, n, h, begin, end, spread / size, cycles, time)
        if number <= c.several:
            apart = (spread + c.table[k, PIECE, tiling]) / size - part
            begin, end = (apart, 1.0) if result else (0.0, 1 - apart)
            wait = max(wait, _crowded(c, w, tiling, n, h, begin, end, 1.0, cycles, time))
        if c.table[k, BUFFERS, tiling] > 1:
            edge = max(edge, wait / number)
        else:
            alone = max(alone, wait)
    return alone, edge


@_jit
def _blocked(c: Choices, tiling: int, row: int, n: int, inside: Floats, time: float) -> float:
    """Cycles for which the unit waits because what it needs must wait for a larger load or store of another operand at
    a port that serves one after the other, one of the two at least a piece: as often as the other comes in the pass in
    which the first does, as far as both together take longer than what has come ahead lasts."""
    waits = 0.0
    for h in range(c.cuts.shape[1]):
        k = c.cuts[n, h]
        piece, tiles = c.table[k, PIECE, tiling], c.table[k, INSTANCES, tiling]
        number, end, ahead = c.table[k, BYTES_IN, tiling] / piece, 1.0, float(AHEAD)
        alone = tiles <= c.several or c.table[k, BUFFERS, tiling] < 2
        if c.result[h] == 1 or (alone and not _in_pieces(c, tiling, k)):
            continue
        if c.table[k, SPREAD, tiling] > 0:
            number, end = 1 + c.table[k, SPREAD, tiling] / piece, min(1.0, c.table[k, PASS, tiling])
        elif not _in_pieces(c, tiling, k):
            number, ahead = tiles, _lasting(inside[BEHIND + h, row], tiles)
        window = ahead * end * time / number
        for g in range(c.cuts.shape[1]):
            j = c.cuts[n, g]
            first, last = _part(c, tiling, j, c.result[g] == 1)
            if g == h or last <= first or not (_in_pieces(c, tiling, k) or _in_pieces(c, tiling, j)):
                continue
            part, unit = max(0.0, min(end, last) - first) / (last - first), c.table[j, PIECE, tiling]
            every = c.table[j, INSTANCES, tiling] * c.table[j, TILE, tiling] / unit
            rarer = min(every - 1, every * part + 1) if c.result[g] == 0 else every * part
            if rarer >= number:
                continue
            for p in range(c.rates.shape[2]):
                mine, other = piece * c.rates[h, 0, p], unit * c.rates[g, c.result[g], p]
                if mine > 0 and other > 0:
                    waits += rarer * max(0.0, mine + other - window)
    return waits


@_jit
def _cost(c: Choices, w: Room, row: int, n: int, inside: Floats, most: float) -> tuple[float, float, float]:
    """Cycles without the first loads and last stores, joules, and cycles of these, of a combination of cuts; infinite
    cycles where it is above `most` of the aim."""
    tiling = row % c.table.shape[2]
    cycles, joules = inside[0, row], inside[1, row] + _sum(c, w, n, JOULES)
    alone, edge = _sum(c, w, n, ALONE), _sum(c, w, n, EDGE) + inside[2, row]
    if c.cycle * (cycles + alone + edge * c.once) + c.joule * joules > most:
        return np.inf, joules, edge
    busiest, trips = cycles, 0.0
    for p in range(BUSY, w.words.shape[1]):
        busiest = max(busiest, _sum(c, w, n, p))
    for h in range(c.cuts.shape[1]):
        trips = max(trips, w.words[c.cuts[n, h], TRIPS])
    time = max(busiest, (cycles + trips) / 2)
    if c.cycle * (time + alone + edge * c.once) + c.joule * joules > most:
        return np.inf, joules, edge
    late = _behind(c, w, tiling, n, cycles, time)
    time, edge = time + alone + late[0], edge + late[1]
    if c.cycle * (time + edge * c.once) + c.joule * joules > most:
        return np.inf, joules, edge
    run = time + edge * c.once
    return time + _crowding(c, tiling, row, n, inside, run) + _blocked(c, tiling, row, n, inside, run), joules, edge


@_jit
def work(c: Choices, w: Room, inside: Floats, cycles: Floats, joules: Floats, edge: Floats) -> None:
    """What the first combination of every row costs."""
    for row in range(inside.shape[1]):
        _options(c, w, row)
        cycles[row], joules[row], edge[row] = _cost(c, w, row, 0, inside, np.inf)


@_jit
def _evaluate(c: Choices, w: Room, row: int, inside: Floats, equal: float) -> float:
    """Value and tie of all combinations of a row; the least value. The value of a combination that does not fit, or
    that is above `equal` times the least, is infinite."""
    tiling, kind = row % c.table.shape[2], row // c.table.shape[2]
    _options(c, w, tiling)
    least = np.inf
    for n in range(c.begin[kind], c.begin[kind + 1]):
        w.value[n] = np.inf
        if not _fits(c, w, tiling, n):
            continue
        cycles, energy, edge = _cost(c, w, row, n, inside, least * equal)
        if cycles == np.inf:
            continue
        time = cycles + edge * c.once
        w.value[n] = c.cycle * time + c.joule * energy
        w.tie[n] = energy if c.cycle > 0 else time
        least = min(least, w.value[n])
    return least


@_jit
def least_of(c: Choices, w: Room, rows: IntArray, inside: Floats, equal: float, value: Floats, tie: Floats) -> None:
    """Of every one of `rows` the least value, and the least tie up to `equal` times that; `inside` is by
    row."""
    for i in range(len(rows)):
        row = rows[i]
        kind = row // c.table.shape[2]
        value[i] = _evaluate(c, w, row, inside, equal)
        tie[i] = np.inf
        for n in range(c.begin[kind], c.begin[kind + 1]):
            if w.value[n] <= value[i] * equal:
                tie[i] = min(tie[i], w.tie[n])


@_jit
def least(c: Choices, w: Room, rows: IntArray, inside: Floats, bound: Floats, equal: float) -> float:
    """The least value of tilings in the order of their bounds."""
    most = np.inf
    for i in range(len(rows)):
        row = rows[i]
        if bound[row] > most:
            break
        most = min(most, _evaluate(c, w, row, inside, equal))
    return most


@_jit
def pick(
    c: Choices, w: Room, rows: IntArray, inside: Floats, tie: Floats, least: float, equal: float, best: Floats
) -> None:
    """Of values up to `equal` times the least the one with the least tie; then with the fewest tiles, the least value,
    the first tiling and combination. `tie` bounds that of tilings, which come in the order of it."""
    limit = least * equal
    for i in range(len(rows)):
        row = rows[i]
        if tie[row] > best[B_TIE] * (1 + SAME):
            break
        if _evaluate(c, w, row, inside, equal) > limit:
            continue
        kind = row // c.table.shape[2]
        for n in range(c.begin[kind], c.begin[kind + 1]):
            if w.value[n] > limit or w.tie[n] > best[B_TIE] * (1 + SAME):
                continue
            moved = _sum(c, w, n, MOVED)
            if w.tie[n] >= best[B_TIE] * (1 - SAME):
                if moved > best[B_MOVED] or (moved == best[B_MOVED] and w.value[n] > best[B_VALUE]):
                    continue
                same = moved == best[B_MOVED] and w.value[n] == best[B_VALUE]
                if same and (row, n) > (int(best[B_ROW]), int(best[B_CUTS])):
                    continue
            best[B_TIE], best[B_MOVED], best[B_VALUE] = w.tie[n], moved, w.value[n]
            best[B_TRAFFIC], best[B_ROW], best[B_CUTS] = _sum(c, w, n, TRAFFIC), row, n
