"""One decision of a replica: who leaves, who comes back, who joins, and what the next step is made of."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from .state import Chunk, Policy, Replica, Sequence, Way


@dataclass
class Turn:
    """Works on a copy of a replica; `result` is the replica after it.

    After `decide`, `decodes` and `chunks` make up the step (neither: there is none), `moves` are to be begun.
    """

    mine: Replica
    policy: Policy
    lower_blocks: int
    ahead: int = 0
    """Tokens of a decode that a draft model may add."""
    moves: list[tuple[Way, Sequence]] = field(default_factory=list)
    decodes: list[Sequence] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)

    def __post_init__(self) -> None:
        mine = self.mine
        self.kv, self.running, self.waiting = mine.kv, list(mine.running), mine.waiting
        self.lower, self.lower_used = mine.lower, mine.lower_used
        self.recomputed, self.swapped, self.stalled = mine.recomputed, mine.swapped, mine.stalled

    def result(self) -> Replica:
        return replace(
            self.mine, kv=self.kv, running=tuple(self.running), waiting=self.waiting, lower=self.lower,
            lower_used=self.lower_used, moving=(*self.mine.moving, *self.moves), recomputed=self.recomputed,
            swapped=self.swapped, stalled=self.stalled, stepping=bool(self.decodes or self.chunks),
        )  # fmt: skip

    def decide(self) -> None:
        """Make up the next step by the policy."""
        if self.policy.kind == "static":
            self._static()
            return
        self._bring_back()
        if self.policy.kind == "chunked":
            self._grow()
            self._prefill(self.policy.step_tokens - len(self.decodes) * (1 + self.ahead))
            return
        self._prefill(self.policy.step_tokens)
        if not self.chunks:
            self._grow()

    def _static(self) -> None:
        if self.running:
            self.decodes = self.running
            return
        for s in self.waiting[: self.policy.batch]:
            self.kv, blocks = self.kv.take(self.kv.needed(s.prompt + s.output - 1))
            self.running.append(s._replace(blocks=blocks))
        self.waiting = self.waiting[len(self.running):]
        self.chunks = [Chunk(s.id, s.prompt, 0) for s in self.running]

    def _bring_back(self) -> None:
        """Bring sequences back from the lower tier while they, and one block more, fit."""
        while self.lower and self._members() < self.policy.batch:
            s = self.lower[0]
            count = self.kv.needed(s.computed)
            if self.kv.free < count + 1:
                return
            self.kv, blocks = self.kv.take(count)
            self.lower = self.lower[1:]
            self.moves.append(("in", s._replace(blocks=blocks)))

    def _members(self) -> int:
        return len(self.running) + len(self.mine.moving) + len(self.moves)

    def _prefill(self, budget: int) -> None:
        """Chunks of prompts that have begun, then of new ones in order of arrival as long as their blocks fit.

        While sequences wait in the lower tier no one new is admitted.
        """
        for s in self.running:
            if not s.decoding and budget > 0:
                budget -= self._chunk(s, budget)
        joined = 0
        for s in self.waiting:
            count = self.kv.needed(s.prompt + s.output - 1 if self.policy.reserve else s.pending)
            if budget <= 0 or self.lower or self._members() >= self.policy.batch or self.kv.free < count:
                break
            self.kv, blocks = self.kv.take(count)
            joined += 1
            self.running.append(s._replace(blocks=blocks))
            budget -= self._chunk(s, budget)
        if joined:
            self.waiting = self.waiting[joined:]

    def _chunk(self, s: Sequence, budget: int) -> int:
        chunk = Chunk(s.id, min(budget, s.pending), s.computed)
        self.chunks.append(chunk)
        return chunk.tokens

    def _grow(self) -> None:
        """Give every decoding sequence room for its next tokens, those admitted first at first; the last make room."""
        tokens, at = self.kv.tokens, 0
        while at < len(self.running):
            s = self.running[at]
            decoding = s.decoding
            last = s.computed + min(self.ahead, s.output - s.generated - 1)
            if decoding and len(s.blocks) * tokens <= last:
                count = self.kv.needed(last + 1) - len(s.blocks)
                while self.kv.free < count and not self._leaving() and at < len(self.running):
                    self._evict()  # the sequence itself, when it is the last one
                if at == len(self.running):
                    return
                if self.kv.free < count:
                    self.stalled += 1
                    at += 1
                    continue
                self.kv, blocks = self.kv.take(count)
                s = self.running[at] = s._replace(blocks=s.blocks + blocks)
            if decoding:
                self.decodes.append(s)
            at += 1

    def _evict(self) -> None:
        """Have the last sequence leave: to the lower tier where it may and fits, else to wait with nothing computed.

        One whose prompt is not computed yet is never worth moving.
        """
        victim = self.running.pop()
        count = len(victim.blocks)
        swaps = self.policy.preemption == "swap" and victim.decoding
        if swaps and self.lower_used + count <= self.lower_blocks:
            self.lower_used += count
            self.swapped += 1
            self.moves.append(("out", victim))
            return
        self.kv = self.kv.give(victim.blocks)
        self.recomputed += 1
        self.waiting = (victim._replace(computed=0, blocks=()), *self.waiting)

    def _leaving(self) -> bool:
        return any(way == "out" for way, _ in (*self.mine.moving, *self.moves))
