# mypy: disable-error-code="no-any-return"
"""The counts of `nest`, compiled: of one tile at a time, without numpy's price per call.

`LayoutNest` explains them; one function here stands for one method there. All run as plain Python too.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..jit import stamped

IntArray = NDArray[np.int64]
_jit = stamped(Path(__file__))


class Body(NamedTuple):
    """An Einsum under a layout.

    Attributes:
        relevant: by operand and rank, whether the rank is one of the operand's.
        indices: of every index with terms: the operand, its first term, the end of its terms.
        term: rank and size of a step.
        factor: points of each rank side by side.
        share: by operand and rank, into how many holders its points are dealt out.
        outer: of each rank, the one into whose next index its spread runs on, or -1.
        loops: rank and tile; the last ones step by the factors.
        depth: by operand, number of loops outside of what registers hold, or -1.
        slide: by operand, the rank whose loop slides what registers hold, so that only new words come, or -1.
        pace: share of the steps that takes time, as a fraction.
        hops: by operand, hops per word that passes the network, as a fraction.
    """

    relevant: IntArray
    indices: IntArray
    term: IntArray
    factor: IntArray
    share: IntArray
    outer: IntArray
    loops: IntArray
    depth: IntArray
    slide: IntArray
    pace: IntArray
    hops: IntArray


class Room(NamedTuple):
    """Working memory: pieces by rank, number of loops that cut it, and number; amounts by part of a sum."""

    extent: IntArray
    number: IntArray
    last: IntArray
    pieces: IntArray
    largest: IntArray
    level: IntArray
    amount: IntArray
    amount_last: IntArray
    amounts: IntArray
    total: IntArray
    chosen: IntArray
    sort: IntArray


def room_for(body: Body) -> Room:
    """Working memory for a nest."""
    ranks, loops = len(body.factor), len(body.loops)
    levels = int(np.bincount(body.loops[:, 0], minlength=ranks).max()) + 1
    pieces = 2 ** (levels - 1)
    terms = int((body.indices[:, 2] - body.indices[:, 1]).max(initial=1))
    parts = max(ranks, len(body.indices))

    def new(*shape: int) -> IntArray:
        return np.zeros(shape, np.int64)

    return Room(
        new(ranks, levels, pieces), new(ranks, levels, pieces), new(ranks, levels, pieces), new(ranks, levels),
        new(ranks, levels), new(loops + 1, ranks), new(parts, pieces**terms), new(parts, pieces**terms), new(parts),
        new(parts), new(terms), new(terms, 2),
    )  # fmt: skip


@_jit
def gcd(a: int, b: int) -> int:
    while b:
        a, b = b, a % b
    return a


@_jit
def distinct(terms: IntArray, n: int) -> int:
    """Different values of a sum over (step, count) terms."""
    if n == 1:
        return terms[0, 1]
    if n == 2:
        a, m, b, k = terms[0, 0], terms[0, 1], terms[1, 0], terms[1, 1]
        shared = gcd(a, b)
        return m * k - max(m - b // shared, 0) * max(k - a // shared, 0)
    for i in range(1, n):
        step, count = terms[i, 0], terms[i, 1]
        j = i - 1
        while j >= 0 and terms[j, 0] > step:
            terms[j + 1, 0], terms[j + 1, 1] = terms[j, 0], terms[j, 1]
            j -= 1
        terms[j + 1, 0], terms[j + 1, 1] = step, count
    width = 1
    for i in range(n):
        if terms[i, 0] <= width:
            width += terms[i, 0] * (terms[i, 1] - 1)
        else:
            width *= terms[i, 1]
    return width


@_jit
def among_holders(b: Body, x: int, extents: IntArray, o: int, sort: IntArray) -> int:
    """Elements along an index of one tile, summed over the holders of operand `o` (-1: one holds all)."""
    first, end = b.indices[x, 1], b.indices[x, 2]
    n = end - first
    total = 0
    for kind in range(1 << n):
        holders = 1
        for i in range(n):
            share = b.share[o, b.term[first + i, 0]] if o >= 0 else 1
            more, each = extents[i] % share, extents[i] // share
            if kind >> i & 1:
                holders *= more
                each += 1
            else:
                holders *= share - more
            sort[i, 0], sort[i, 1] = b.term[first + i, 1] * share, each
        if holders > 0:
            total += holders * distinct(sort, n)
    return total


@_jit
def cut(b: Body, extents: IntArray, w: Room) -> None:
    """Pieces of every rank after every one of its loops."""
    ranks = len(b.factor)
    for r in range(ranks):
        w.extent[r, 0, 0], w.number[r, 0, 0], w.last[r, 0, 0] = extents[r], 1, -1
        w.pieces[r, 0], w.largest[r, 0], w.level[0, r] = 1, extents[r], 0
    for at in range(len(b.loops)):
        r, tile = b.loops[at, 0], b.loops[at, 1]
        for k in range(ranks):
            w.level[at + 1, k] = w.level[at, k]
        u = w.level[at, r]
        w.level[at + 1, r] = u + 1
        w.largest[r, u + 1] = min(w.largest[r, u], tile)
        n = 0
        for p in range(w.pieces[r, u]):
            full = min(w.extent[r, u, p], tile)
            times, rest = w.extent[r, u, p] // full, w.extent[r, u, p] % full
            last = at if times > 1 or rest > 0 else w.last[r, u, p]
            w.extent[r, u + 1, n], w.number[r, u + 1, n], w.last[r, u + 1, n] = full, w.number[r, u, p] * times, last
            n += 1
            if rest > 0:
                w.extent[r, u + 1, n], w.number[r, u + 1, n], w.last[r, u + 1, n] = rest, w.number[r, u, p], last
                n += 1
        w.pieces[r, u + 1] = n


@_jit
def count(w: Room, r: int, level: int) -> int:
    total = 0
    for p in range(w.pieces[r, level]):
        total += w.number[r, level, p]
    return total


@_jit
def copies(b: Body, w: Room, r: int, level: int, o: int) -> int:
    """Holders of operand `o` (-1: one holds all) that take part in the tiles of a rank, summed over the tiles."""
    share = b.share[o, r] if o >= 0 else 1
    total = 0
    for p in range(w.pieces[r, level]):
        total += w.number[r, level, p] * min(share, w.extent[r, level, p])
    return total


@_jit
def along_index(b: Body, w: Room, x: int, part: int, depth: int, o: int, slide: int) -> None:
    """Elements along an index in all combinations of pieces of its ranks, as amounts of a part; pieces that the
    innermost loop cuts off one another are one if it slides them."""
    first, n = b.indices[x, 1], b.indices[x, 2] - b.indices[x, 1]
    combinations = 1
    for i in range(n):
        r = b.term[first + i, 0]
        combinations *= w.pieces[r, w.level[depth, r] - (1 if r == slide else 0)]
    w.amounts[part] = combinations
    for c in range(combinations):
        rest, number, last = c, 1, -1
        for i in range(n):
            r = b.term[first + i, 0]
            level = w.level[depth, r] - (1 if r == slide else 0)
            p = rest % w.pieces[r, level]
            rest //= w.pieces[r, level]
            number *= w.number[r, level, p]
            last = max(last, w.last[r, level, p])
            w.chosen[i] = w.extent[r, level, p]
            if r == slide and w.chosen[i] > b.loops[depth - 1, 1]:
                last = depth - 1
        if n == 1:
            w.amount[part, c] = number * w.chosen[0]
        else:
            w.amount[part, c] = number * among_holders(b, x, w.chosen, o, w.sort)
        w.amount_last[part, c] = last


@_jit
def up_to(w: Room, part: int, limit: int) -> int:
    total = 0
    for i in range(w.amounts[part]):
        if w.amount_last[part, i] <= limit:
            total += w.amount[part, i]
    return total


@_jit
def outside(b: Body, w: Room, access: int, loop: int, o: int, counting: bool) -> int:
    """Product over ranks that an operand does not have, of what the loops outside of one make of them."""
    result = 1
    for r in range(len(b.factor)):
        if b.relevant[access, r] == 0:
            level = w.level[loop, r]
            result *= count(w, r, level) if counting else copies(b, w, r, level, o)
    return result


@_jit
def has(b: Body, x: int, r: int) -> bool:
    found = False
    for t in range(b.indices[x, 1], b.indices[x, 2]):
        found = found or b.term[t, 0] == r
    return found


@_jit
def over_visits(b: Body, w: Room, access: int, depth: int, o: int, counting: bool, slide: int) -> int:
    """Tiles (`counting`), or elements that arrive at the holders of operand `o`, over all visits; those that the
    innermost loop moves on along rank `slide` (-1: none) are one."""
    parts = 0
    for x in range(len(b.factor) if counting else len(b.indices)):
        if counting and b.relevant[access, x] == 1:
            level = w.level[depth, x] - (1 if x == slide else 0)
            w.amounts[x] = w.pieces[x, level]
            for p in range(w.pieces[x, level]):
                w.amount[x, p], w.amount_last[x, p] = w.number[x, level, p], w.last[x, level, p]
                if x == slide and w.extent[x, level, p] > b.loops[depth - 1, 1]:
                    w.amount_last[x, p] = depth - 1
        elif not counting and b.indices[x, 0] == access:
            along_index(b, w, x, x, depth, o, slide)
        else:
            w.amounts[x] = -1
        parts = x + 1
    before = 1
    for x in range(parts):
        if w.amounts[x] >= 0:
            w.total[x] = up_to(w, x, -1)
            before *= w.total[x]
    result = before * outside(b, w, access, 0, o, counting)
    for at in range(depth):
        r = b.loops[at, 0]
        if b.relevant[access, r] == 0:
            continue
        now = 1
        for x in range(parts):
            if w.amounts[x] >= 0:
                if x == r if counting else has(b, x, r):
                    w.total[x] = up_to(w, x, at)
                now *= w.total[x]
        if now != before:
            result += (now - before) * outside(b, w, access, at, o, counting)
            before = now
    return result


@_jit
def moved_always(b: Body, w: Room, access: int, o: int) -> int:
    """Elements that arrive in every step, nothing being kept."""
    depth = len(b.loops)
    result = 1
    for x in range(len(b.indices)):
        if b.indices[x, 0] == access:
            along_index(b, w, x, x, depth, o, -1)
            result *= up_to(w, x, depth)
    for r in range(len(b.factor)):
        if b.relevant[access, r] == 0:
            result *= copies(b, w, r, w.level[depth, r], o)
    for r in range(len(b.factor)):
        outer = b.outer[r]
        share = b.share[o, r] if o >= 0 else 1
        if outer >= 0 and share == 1 and b.relevant[access, outer] == 1 and b.relevant[access, r] == 0:
            apart = w.largest[outer, 0] * count(w, r, w.level[depth, r])
            result = result // apart * joint_uses(b, w, r)
    return result


@_jit
def joint_steps(b: Body, w: Room, r: int) -> int:
    extent = w.largest[r, 0]
    return -(-extent * w.largest[b.outer[r], 0] // min(b.factor[r], extent))


@_jit
def joint_uses(b: Body, w: Room, r: int) -> int:
    extent, outer = w.largest[r, 0], w.largest[b.outer[r], 0]
    step = min(b.factor[r], extent)
    return joint_steps(b, w, r) + outer - -(-extent * outer // (extent // gcd(extent, step) * step))


@_jit
def held(b: Body, w: Room, access: int, depth: int) -> int:
    """Elements of an operand's largest tile in the register file that holds most."""
    result = 1
    for x in range(len(b.indices)):
        if b.indices[x, 0] == access:
            first, n = b.indices[x, 1], b.indices[x, 2] - b.indices[x, 1]
            for i in range(n):
                r = b.term[first + i, 0]
                share = b.share[access, r]
                w.sort[i, 0] = b.term[first + i, 1] * share
                w.sort[i, 1] = -(-w.largest[r, w.level[depth, r]] // share)
            result *= distinct(w.sort, n)
    for r in range(len(b.factor)):
        outer = b.outer[r]
        if outer >= 0 and b.share[access, r] > 1 and b.relevant[access, r] == 1 and b.relevant[access, outer] == 1:
            apart = w.largest[outer, 0] * -(-w.largest[r, 0] // b.factor[r])
            result = result // apart * joint_steps(b, w, r)
    return result


@_jit
def steps_of(b: Body, w: Room) -> int:
    result = 1
    for r in range(len(b.factor)):
        joined = False
        for k in range(len(b.factor)):
            joined = joined or b.outer[k] == r
        if b.outer[r] >= 0:
            result *= joint_steps(b, w, r)
        elif not joined:
            result *= count(w, r, w.level[len(b.loops), r])
    return result


@_jit
def sweeps(b: Body, w: Room, access: int, depth: int) -> int:
    """How often the loops directly inside `depth` go over the same tile of an operand."""
    result = 1
    for at in range(depth, len(b.loops)):
        r, tile = b.loops[at, 0], b.loops[at, 1]
        trips = -(-w.largest[r, w.level[at, r]] // tile)
        if b.relevant[access, r] == 0:
            result *= trips
        elif trips > 1:
            break
    return result
