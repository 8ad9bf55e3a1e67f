"""What a transformer is made of, as values: no sizes of a run, no tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias


@dataclass(frozen=True)
class Norm:
    """A normalisation over the width: ``layer`` (with bias) or ``rms``."""

    kind: Literal["layer", "rms"]
    eps: float


@dataclass(frozen=True)
class Attention:
    """Multi-head, grouped-query or multi-query attention.

    Attributes:
        heads: of queries.
        kv_heads: of keys and values; fewer than `heads` is grouped-query attention.
        head_size: width of one head.
        qkv_bias: biases on the query, key and value projections.
        out_bias: bias on the output projection.
        rotary: leading elements of a head that rotary embedding turns; 0 for none.
        qk_norm: RMS normalisation of every head of queries and keys, before rotary embedding.
        scale: of the scores; default: one over the root of `head_size`.
        softcap: scores become ``softcap * tanh(scores / softcap)``; 0 for none.
        window: keys that a token may attend to, itself included; None for all.
    """

    heads: int
    kv_heads: int
    head_size: int
    qkv_bias: bool = False
    out_bias: bool = False
    rotary: int = 0
    qk_norm: Norm | None = None
    scale: float | None = None
    softcap: float = 0.0
    window: int | None = None


@dataclass(frozen=True)
class LatentAttention:
    """Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434): the cache holds one latent vector per token.

    Attributes:
        heads: of queries, keys and values.
        query_rank: width of the latent queries; None where queries are projected at once.
        latent: width of the latent vector of keys and values.
        plain: elements of a head of queries and keys without rotary embedding.
        rotary: elements with it; their keys are shared by all heads.
        value: width of a head of values.
        bias: biases on the down projections and on the output projection.
        norm: of the latent vectors.
        scale: of the scores.
    """

    heads: int
    query_rank: int | None
    latent: int
    plain: int
    rotary: int
    value: int
    bias: bool
    norm: Norm
    scale: float

    @property
    def window(self) -> int | None:
        """Latent attention has no sliding window."""
        return None


@dataclass(frozen=True)
class Mlp:
    """``down(act(up(x)))``, or gated ``down(act(gate(x)) * up(x))``; `activation` is a key of `ACTIVATIONS`."""

    intermediate: int
    activation: str
    gated: bool
    bias: bool = False


@dataclass(frozen=True)
class Experts:
    """A mixture of experts in place of an MLP.

    Attributes:
        count: experts that are held.
        active: experts that each token is sent to.
        expert: one of them.
        shared: an MLP that every token passes as well.
        scoring: of the router's logits.
        normalised: the weights of the chosen experts are divided by their sum.
        scaling: factor on the weights.
        shared_gate: the shared MLP is weighted by the sigmoid of a projection of its own.
        router_bias: a bias per expert is added to the scores where experts are chosen.
    """

    count: int
    active: int
    expert: Mlp
    shared: Mlp | None = None
    scoring: Literal["softmax", "sigmoid"] = "softmax"
    normalised: bool = True
    scaling: float = 1.0
    shared_gate: bool = False
    router_bias: bool = False


Placement: TypeAlias = Literal["pre", "post", "parallel", "sandwich"]


@dataclass(frozen=True)
class Layer:
    """One layer.

    Attributes:
        attention: how tokens see each other.
        mlp: what follows.
        norm: of this layer.
        placement: where norms stand: ``pre``, x + f(norm(x)) for attention and for MLP; ``post``, norm(x + f(x));
            ``sandwich``, x + norm(f(norm(x))); ``parallel``, x + attention(norm(x)) + mlp(norm(x)) with one norm.
        label: prefix of its tensors where a model has layers of several kinds.
    """

    attention: Attention | LatentAttention
    mlp: Mlp | Experts
    norm: Norm
    placement: Placement = "pre"
    label: str = "layer"


@dataclass(frozen=True)
class TokenEmbedding:
    """Rows of a table for tokens.

    Attributes:
        vocabulary: rows.
        width: of a row where it is not that of the model (projections lead in and out).
        positions: learned position embeddings, or None.
        first_position: rows of their table before that of position 0.
        types: token types that have an embedding, all taken to be type 0; 0 for none.
        norm: of the sum.
        scale: of the rows.
    """

    vocabulary: int
    width: int | None = None
    positions: int | None = None
    first_position: int = 0
    types: int = 0
    norm: Norm | None = None
    scale: float = 1.0


@dataclass(frozen=True)
class PatchEmbedding:
    """Square patches of an image, projected by a convolution, after a learned class token; learned positions.

    `image` is (height, width) in pixels, `patch` the side of a patch.
    """

    image: tuple[int, int]
    channels: int
    patch: int
    bias: bool = True

    @property
    def tokens(self) -> int:
        """Patches and the class token."""
        return (self.image[0] // self.patch) * (self.image[1] // self.patch) + 1


@dataclass(frozen=True)
class VocabularyHead:
    """Logits over the vocabulary; `tied`: by the embedding table. `softcap` as in `Attention`."""

    tied: bool
    bias: bool = False
    softcap: float = 0.0


@dataclass(frozen=True)
class Pooler:
    """``tanh(W x + b)`` of the first token, as in BERT."""


@dataclass(frozen=True)
class Classifier:
    """``W x + b`` of the first token, to `labels` logits."""

    labels: int


Head: TypeAlias = VocabularyHead | Pooler | Classifier


@dataclass(frozen=True)
class Transformer:
    """A decoder (tokens are generated one by one, with a cache) or an encoder (all tokens see each other)."""

    name: str
    hidden: int
    layers: tuple[Layer, ...]
    embedding: TokenEmbedding | PatchEmbedding
    head: Head | None
    final_norm: Norm | None
    decoder: bool = True

    @property
    def positions(self) -> int | None:
        """Tokens that the model has learned positions for, or None for any number."""
        if isinstance(self.embedding, PatchEmbedding):
            return self.embedding.tokens
        return self.embedding.positions


@dataclass(frozen=True)
class Bits:
    """Bits per element by role."""

    activation: int
    weight: int
    state: int


@dataclass(frozen=True)
class Options:
    """Which computation a run of a transformer is; see `build`.

    Attributes:
        causal: count only keys that are not in a token's future.
        sliding_window: layers with a window attend to that many keys at most.
        absorb: latent attention works on the latent cache itself; None: in decode.
    """

    causal: bool = False
    sliding_window: bool = False
    absorb: bool | None = None


@dataclass(frozen=True)
class Stack:
    """Layers that are run `count` times, one after the other."""

    count: int
    layers: tuple[Layer, ...] = field(default_factory=tuple)


def stacks(layers: Sequence[Layer], longest: int = 8) -> list[Stack]:
    """Group a sequence of layers into repeated patterns of at most `longest` layers, as few as greed finds."""
    found: list[Stack] = []
    at = 0
    while at < len(layers):
        best = (1, 1)  # period, count
        for period in range(1, min(longest, len(layers) - at) + 1):
            pattern = layers[at: at + period]
            count = 1
            while layers[at + count * period: at + (count + 1) * period] == pattern:
                count += 1
            if count > 1 and period * count > best[0] * best[1]:
                best = (period, count)
        found.append(Stack(best[1], tuple(layers[at: at + best[0]])))
        at += best[0] * best[1]
    return found
