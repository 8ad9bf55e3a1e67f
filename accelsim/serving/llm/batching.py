"""The Driver of LLM serving: which tokens of which requests make up the next step of each replica."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from ...engine.program import Program
from ...errors import BadInput, DoesNotFit
from ..driver import Request, Submission
from .blocks import Blocks
from .faults import ScenarioError
from .speculation import Draft
from .state import KINDS, PREEMPTIONS, BatchState, Move, Policy, Replica, Sequence, Shape, Step, Tokens, Way
from .turn import Turn


@dataclass(frozen=True)
class Batching:
    """A Driver for equal replicas; arrivals go to the one with the fewest requests, among equals the first.

    Attributes:
        step_program: the Program of a step, from replica and Shape.
        move_program: the Program of blocks moved between the tiers, from replica, way and blocks.
        replicas: how many.
        blocks: of KV cache of each replica.
        block_tokens: tokens of a block.
        block_bytes: bytes of a block on all sockets of a replica, for messages.
        lower_blocks: blocks of the lower tier of each replica.
        tier: what messages call the memory of the blocks.
        draft: tokens that a draft model proposes; None: there is no such model.
        sockets: of a replica, each of which has equally many of its blocks and all of a request's in one place. Which
            socket a request is on is left open: any balanced share of them fits.
        prefill: so many replicas, the first ones, prefill alone. The others get each request when it has its first
            token: its blocks come over as a move of theirs, and only then are free where they were.
    """

    step_program: Callable[[int, Shape], Program]
    move_program: Callable[[int, Way, int], Program]
    replicas: int
    blocks: int
    block_tokens: int
    block_bytes: int
    lower_blocks: int = 0
    tier: str = "memory"
    draft: Draft | None = None
    prefill: int = 0
    sockets: int = 1

    def start(self, policy: Policy, seed: int) -> BatchState:
        """Return idle replicas; nothing in this Driver is left to chance.

        Raises:
            BadInput: the policy is none.
            DoesNotFit: there is not even one block for each request of a batch.
        """
        if policy.kind not in KINDS or policy.preemption not in PREEMPTIONS:
            known = f"{', '.join(KINDS)}; {', '.join(PREEMPTIONS)}"
            raise ScenarioError("policy", f"{policy.kind}, {policy.preemption} (known: {known})")
        steps = f"a batch of {policy.batch} in steps of {policy.step_tokens} tokens"
        if policy.batch < 1 or policy.step_tokens < policy.batch:
            raise ScenarioError("policy", f"{steps} (a batch is at least 1, and a step has room for one token of each)")
        if self.prefill and (policy.kind == "static" or policy.preemption == "swap"):
            raise ScenarioError("policy", f"{policy.kind}, {policy.preemption}, where {self.prefill} replicas prefill "
                                "for the others (continuous or chunked, and recompute)")  # fmt: skip
        if self.prefill >= self.replicas > 0 and self.prefill:
            raise ScenarioError("parallel", f"{self.prefill} of {self.replicas} replicas prefill, and none decodes")
        if self.draft is not None and policy.kind == "static":
            raise ScenarioError("policy", "a static batch has no draft model (continuous or chunked)")
        each = 1 + (self.draft.tokens if self.draft else 0)
        if policy.step_tokens < policy.batch * each:
            raise ScenarioError("policy", f"{steps}, of which a draft model makes {each} for each request")
        if policy.preemption == "swap" and not self.lower_blocks:
            raise ScenarioError("policy", "preemption by swap needs a lower tier with room for at least one block")
        self._fits(self._on_a_socket(policy.batch), f"a batch of {policy.batch} requests with a block each")
        return BatchState(policy, tuple(Replica(Blocks(self.blocks, self.block_tokens)) for _ in range(self.replicas)))

    def on_arrival(self, state: BatchState, request: Request, now: int) -> tuple[BatchState, tuple[Submission, ...]]:
        """Raises BadInput for a request without tokens, DoesNotFit for one that no replica can hold."""
        wants = request.wants
        if not isinstance(wants, Tokens) or min(wants) < 1:
            raise BadInput(f"request {request.id}: wants {wants} (at least one token of prompt and one of output)")
        each = state.replicas[0].kv.needed(sum(wants) - 1)
        self._fits(each, f"request {request.id} of {wants.prompt} + {wants.output} tokens")
        batch = state.policy.batch
        if state.policy.kind == "static":
            self._fits(each * self._on_a_socket(batch), f"a static batch of {batch} requests such as {request.id}, of "
                                                        f"{wants.prompt} + {wants.output} tokens,")
        chosen = self._least(state, range(self.prefill or self.replicas))
        mine = state.replicas[chosen]
        joined = Sequence(request.id, wants.prompt, wants.output)
        return self._next(state, chosen, replace(mine, waiting=(*mine.waiting, joined)))

    def on_complete(
        self, state: BatchState, fragment: Submission, now: int
    ) -> tuple[BatchState, tuple[Submission, ...]]:
        if isinstance(fragment, Move):
            came, begun = self._next(state, fragment.replica, after_move(state.replicas[fragment.replica], fragment))
            if not self.prefill:
                return came, begun
            source = next(i for i in range(self.prefill)
                          if any(s.id in fragment.requests for _, s in came.replicas[i].moving))  # fmt: skip
            left, more = self._next(came, source, handed_over(came.replicas[source], fragment))
            return left, begun + more
        assert isinstance(fragment, Step)  # there are no others
        mine = after_step(state.replicas[fragment.replica], fragment, state.policy)
        if fragment.replica >= self.prefill:
            return self._next(state, fragment.replica, mine)
        return self._hand_over(state, fragment.replica, mine)

    def _least(self, state: BatchState, among: range) -> int:
        """The replica with the fewest requests, among equals the first."""
        return min(among, key=lambda i: (state.replicas[i].requests, i))

    def _hand_over(
        self, state: BatchState, number: int, mine: Replica
    ) -> tuple[BatchState, tuple[Submission, ...]]:
        """Have requests with their first token go on elsewhere; they leave their blocks when they have others."""
        ready = tuple(s for s in mine.running if s.generated)
        kept = tuple(s for s in mine.running if not s.generated)
        moving = (*mine.moving, *(("out", s) for s in ready))
        state, submissions = self._next(state, number, replace(mine, running=kept, moving=moving))
        for s in ready:
            there = self._least(state, range(self.prefill, self.replicas))
            other = state.replicas[there]
            used = other.lower_used + other.kv.needed(s.computed)
            joined = replace(other, lower=(*other.lower, s._replace(blocks=())), lower_used=used)
            state, more = self._next(state, there, joined)
            submissions += more
        return state, submissions

    def _on_a_socket(self, requests: int) -> int:
        """Requests of a batch on the socket with most of them."""
        return -(-requests // self.sockets)

    def _fits(self, blocks: int, what: str) -> None:
        """Raise DoesNotFit for more blocks than one socket has."""
        there = self.blocks // self.sockets
        if blocks > there:
            short = (blocks - there) * self.block_bytes
            where = " on each socket" if self.sockets > 1 else ""
            raise DoesNotFit(f"KV cache in {self.tier}: {what} needs {blocks} blocks of {self.block_tokens} tokens"
                             f"{where} and there are {there}, {short:,} bytes too few")  # fmt: skip

    def _next(self, state: BatchState, number: int, mine: Replica) -> tuple[BatchState, tuple[Submission, ...]]:
        """Submit what a replica that is not in a step can begin."""
        submissions: list[Submission] = []
        if not mine.stepping:
            turn = Turn(mine, state.policy, self.lower_blocks, self.draft.tokens if self.draft else 0)
            turn.decide()
            mine = turn.result()
            for way, s in turn.moves:
                program = self.move_program(number, way, len(s.blocks))
                submissions.append(Move(program, (s.id,), f"swap {way}", number, way, len(s.blocks)))
            if mine.stepping:
                submissions.append(self._step(number, mine, turn))
        replicas = (*state.replicas[:number], mine, *state.replicas[number + 1:])
        return replace(state, replicas=replicas), tuple(submissions)

    def _step(self, number: int, mine: Replica, turn: Turn) -> Step:
        decodes = tuple(s.id for s in turn.decodes)
        if self.draft is None:
            emits = [s.id for s in turn.decodes if s.generated < s.output]  # idle ones of a static batch have theirs
        else:
            made = ((s.id, self.draft.made(s.id, s.generated, s.output - s.generated)) for s in turn.decodes)
            emits = [request for request, count in made for _ in range(count)]
        ahead = turn.ahead if decodes else 0
        logits = len(emits) if self.draft is None else len(decodes) * (1 + ahead)
        if turn.chunks:
            ends = {s.id: s.prompt + s.generated for s in mine.running}
            first = [c.request for c in turn.chunks if c.past + c.tokens == ends[c.request]]
            emits, logits = emits + first, logits + len(first)
        shape = Shape(len(decodes), sum(s.computed + 1 for s in turn.decodes),
                      tuple((c.tokens, c.past) for c in turn.chunks), logits, ahead)  # fmt: skip
        requests = (*decodes, *(c.request for c in turn.chunks))
        return Step(self.step_program(number, shape), requests, "step", number, shape, decodes, tuple(turn.chunks),
                    tuple(emits), mine.kv.in_use, len(mine.waiting) + len(mine.lower))  # fmt: skip


def after_step(mine: Replica, step: Step, policy: Policy) -> Replica:
    """A replica when its step is done: tokens are computed, those that have all their tokens give back their blocks.

    In a static batch they stay, idle, until the last one is done.
    """
    advanced = _all_decoded(mine) if _only_decodes(mine, step, policy) else _advanced(mine, step)
    if policy.kind == "static" and any(s.generated < s.output for s in advanced):
        return replace(mine, running=tuple(advanced), stepping=False)
    kv = mine.kv
    for s in advanced:
        if s.generated == s.output:
            kv = kv.give(s.blocks)
    kept = tuple([s for s in advanced if s.generated < s.output])
    return replace(mine, kv=kv, running=kept, stepping=False)


def _only_decodes(mine: Replica, step: Step, policy: Policy) -> bool:
    """Every sequence has generated one token: what most steps are."""
    alone = policy.kind != "static" and not step.chunks and len(step.decodes) == len(mine.running)
    return alone and len(step.emits) == len(step.decodes)


def _all_decoded(mine: Replica) -> list[Sequence]:
    return [Sequence(i, prompt, output, generated + 1, computed + 1, blocks)
            for i, prompt, output, generated, computed, blocks in mine.running]  # fmt: skip


def _advanced(mine: Replica, step: Step) -> list[Sequence]:
    decoded, emits = set(step.decodes), Counter(step.emits)
    chunks = {c.request: c.tokens for c in step.chunks}
    found = []
    for s in mine.running:
        made = emits[s.id]
        computed = chunks.get(s.id, 0) + (made if s.id in decoded else 0)
        found.append(s._replace(generated=s.generated + made, computed=s.computed + computed))
    return found


def after_move(mine: Replica, move: Move) -> Replica:
    """A replica when blocks have arrived: out, they are free in the upper tier; in, the sequence runs again."""
    way, s = next(entry for entry in mine.moving if entry[1].id in move.requests)
    moving = tuple(entry for entry in mine.moving if entry[1].id != s.id)
    if way == "out":
        return replace(mine, moving=moving, kv=mine.kv.give(s.blocks), lower=(*mine.lower, s._replace(blocks=())))
    lower_used = mine.lower_used - move.blocks
    return replace(mine, moving=moving, running=(*mine.running, s), lower_used=lower_used)


def handed_over(mine: Replica, move: Move) -> Replica:
    """A replica that has prefilled a request, when its blocks have arrived elsewhere."""
    left = next(s for _, s in mine.moving if s.id in move.requests)
    return replace(mine, moving=tuple(e for e in mine.moving if e[1].id != left.id), kv=mine.kv.give(left.blocks))
