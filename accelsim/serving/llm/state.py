"""What a replica of an LLM server is at, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from ..driver import Submission
from .blocks import Blocks

Kind = Literal["static", "continuous", "chunked"]
KINDS: tuple[Kind, ...] = ("static", "continuous", "chunked")
Preemption = Literal["recompute", "swap"]
PREEMPTIONS: tuple[Preemption, ...] = ("recompute", "swap")
Way: TypeAlias = Literal["out", "in"]


@dataclass(frozen=True)
class Policy:
    """How steps are made up.

    Attributes:
        kind: ``static``: a batch is prefilled, then decoded until its last request is done, with no one leaving or
            joining. ``continuous`` (Orca, vLLM): prompts are prefilled as soon as they fit, in steps of their own, and
            requests leave when they are done. ``chunked`` (Sarathi-Serve, arXiv:2403.02310): a step has all decodes,
            and prompts fill it up to `step_tokens`.
        batch: requests that a replica works on at once.
        step_tokens: most tokens of a step, those that a draft model proposes included; longer prompts are cut (but by
            ``static``).
        preemption: what happens to the request that came last when there is no block left: its blocks are dropped and
            computed again (``recompute``), or moved to the lower tier and back while there is room (``swap``).
        reserve: a request joins only when there are blocks for all that it will ever have, and gets them: no one is
            preempted, as where a server knows the length of its answers ("guaranteed no evict" of TensorRT-LLM).
    """

    kind: Kind = "continuous"
    batch: int = 256
    step_tokens: int = 8192
    preemption: Preemption = "recompute"
    reserve: bool = False


class Tokens(NamedTuple):
    """What a request wants: tokens of its prompt, and tokens to generate."""

    prompt: int
    output: int


class Sequence(NamedTuple):
    """A request on its way. When no token is pending, one more is generated, which then is pending itself."""

    id: int
    prompt: int
    output: int
    generated: int = 0
    computed: int = 0
    """Tokens whose keys and values are in blocks."""
    blocks: tuple[int, ...] = ()

    @property
    def pending(self) -> int:
        """Tokens that are known and not computed."""
        return self.prompt + self.generated - self.computed

    @property
    def decoding(self) -> bool:
        """Its next token takes one more computed token."""
        return self.computed > 0 and self.prompt + self.generated - self.computed == 1


class Chunk(NamedTuple):
    """`tokens` of a request's prompt, after `past` others of it."""

    request: int
    tokens: int
    past: int


class Shape(NamedTuple):
    """What the cost of a step depends on: decodes, the tokens that they attend to in all (their own included), chunks
    as (tokens, past), tokens for which logits are wanted, and tokens that a draft model proposes for each decode."""

    decodes: int
    decode_context: int
    chunks: tuple[tuple[int, int], ...]
    sampled: int
    ahead: int = 0

    @property
    def tokens(self) -> int:
        """That pass the weights."""
        return self.decodes * (1 + self.ahead) + sum(tokens for tokens, _ in self.chunks)


NOTHING = Shape(0, 0, (), 0)


@dataclass(frozen=True, eq=False)
class Step(Submission):
    """One step of a replica: a token of each of `decodes`, and chunks of prompts."""

    replica: int = 0
    shape: Shape = NOTHING
    decodes: tuple[int, ...] = ()
    chunks: tuple[Chunk, ...] = ()
    emits: tuple[int, ...] = ()
    """Requests that have one more token when the step is done; several times those that have several."""
    blocks_in_use: int = 0
    waiting: int = 0


@dataclass(frozen=True, eq=False)
class Move(Submission):
    """Blocks of one request on their way to the lower tier (``out``) or back (``in``)."""

    replica: int = 0
    way: Way = "out"
    blocks: int = 0


@dataclass(frozen=True)
class Replica:
    """Requests of one replica; those that run in the order in which they were admitted."""

    kv: Blocks
    waiting: tuple[Sequence, ...] = ()
    running: tuple[Sequence, ...] = ()
    moving: tuple[tuple[Way, Sequence], ...] = ()
    lower: tuple[Sequence, ...] = ()
    """Whose blocks are in the lower tier; they own none of the upper one."""
    lower_used: int = 0
    """Blocks of the lower tier that are in use or promised."""
    stepping: bool = False
    recomputed: int = 0
    swapped: int = 0
    stalled: int = 0
    """Decodes left out of a step because their block was still on its way out."""

    @property
    def requests(self) -> int:
        return len(self.waiting) + len(self.running) + len(self.moving) + len(self.lower)


@dataclass(frozen=True)
class BatchState:
    """All replicas, and the policy that they follow."""

    policy: Policy
    replicas: tuple[Replica, ...]
