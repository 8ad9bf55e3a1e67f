"""A transformer layer: attention in three passes and in one, batched over sequences and heads, and the rest of it."""

from __future__ import annotations

from dataclasses import dataclass

from ...ir import Workload, parse_cascade

BATCH = 64
WORD_BITS = 16


@dataclass(frozen=True)
class Model:
    """A transformer by what its attention and linear layers need (MICRO 2024, section VI-A)."""

    name: str
    hidden: int
    heads: int
    head_size: int
    feed_forward: int


MODELS = (
    Model("BERT", 768, 12, 64, 3072),
    Model("TrXL", 1024, 16, 64, 4096),
    Model("T5", 512, 8, 64, 2048),
    Model("XLM", 2048, 16, 128, 8192),
)


def tokens_of(length: str) -> int:
    """Tokens of a length such as 512 or 4K."""
    unit = {"K": 1024, "M": 1024**2}.get(length[-1])
    return int(length) if unit is None else int(length[:-1]) * unit


THREE_PASSES = """
QK[b,h,m,p] = Q[b,h,e,p] * K[b,h,e,m]
GM[b,h,p]   = max(m) QK[b,h,m,p]
SN[b,h,m,p] = exp(QK[b,h,m,p] - GM[b,h,p])
SD[b,h,p]   = SN[b,h,m,p]
A[b,h,m,p]  = SN[b,h,m,p] / SD[b,h,p]
AV[b,h,f,p] = A[b,h,m,p] * V[b,h,f,m]
"""

THREE_STAGES = """
QK[b,h,m,p] = Q[b,h,e,p] * K[b,h,e,m]
GM[b,h,p]   = max(m) scores[b,h,m,p]
SN[b,h,m,p] = exp(scores[b,h,m,p] - GM[b,h,p])
SD[b,h,p]   = SN[b,h,m,p]
A[b,h,m,p]  = SN[b,h,m,p] / SD[b,h,p]
AV[b,h,f,p] = weights[b,h,m,p] * V[b,h,f,m]
"""
"""The same where scores and weights go through DRAM and its three stages work on blocks that lie behind one another:
the scores that the softmax reads are those of the block before, the weights those of the block before that."""

ONE_PASS = """
QK[b,h,i,j,p]    = Q[b,h,e,p] * K[b,h,e,{block}*i+j]
LM[b,h,i,p]      = max(j) QK[b,h,i,j,p]
first_max: RM[b,h,0,p] = -inf
RM[b,h,i+1,p]    = max(RM[b,h,i,p], LM[b,h,i,p])
SLN[b,h,i,j,p]   = exp(QK[b,h,i,j,p] - RM[b,h,i+1,p])
SLD[b,h,i,p]     = SLN[b,h,i,j,p]
SLNV[b,h,i,f,p]  = SLN[b,h,i,j,p] * V[b,h,f,{block}*i+j]
PRM[b,h,i,p]     = exp(RM[b,h,i,p] - RM[b,h,i+1,p])
first_sum: RD[b,h,0,p] = 0
RD[b,h,i+1,p]    = RD[b,h,i,p] * PRM[b,h,i,p] + SLD[b,h,i,p]
first_value: RNV[b,h,0,f,p] = 0
RNV[b,h,i+1,f,p] = RNV[b,h,i,f,p] * PRM[b,h,i,p] + SLNV[b,h,i,f,p]
AV[b,h,f,p]      = RNV[b,h,{blocks},f,p] / RD[b,h,{blocks},p]
"""
"""FuseMax's cascade; its steps along a recurrence stand in one Einsum: SPD in RD, SPNV in RNV."""


LINEAR = """
Q[t,n]   = X[t,d] * WQ[d,n]
K[t,n]   = X[t,d] * WK[d,n]
V[t,n]   = X[t,d] * WV[d,n]
Z[t,d2]  = AV[t,n] * WZ[n,d2]
F1[t,s]  = Z[t,d2] * W1[d2,s]
F2[t,d3] = F1[t,s] * W2[s,d3]
"""
"""The other products of a layer: projections and the feed-forward part."""


def linear_layers(model: Model, tokens: int, batch: int = BATCH) -> Workload:
    """A layer without its attention."""
    width = model.heads * model.head_size
    sizes = {"t": batch * tokens, "n": width, "d": model.hidden, "d2": model.hidden, "d3": model.hidden}
    sizes["s"] = model.feed_forward
    return parse_cascade(LINEAR, sizes, name=f"{model.name}_{tokens}_linear", bits=WORD_BITS)


def three_passes(model: Model, tokens: int, batch: int = BATCH, text: str = THREE_PASSES) -> Workload:
    """Attention with a softmax over whole rows."""
    sizes = {"b": batch, "h": model.heads, "m": tokens, "p": tokens, "e": model.head_size, "f": model.head_size}
    return parse_cascade(text, sizes, name=f"{model.name}_{tokens}", bits=WORD_BITS)


def one_pass(model: Model, tokens: int, batch: int = BATCH, block: int = 256) -> Workload:
    """Attention with running maxima and sums over blocks of so many keys."""
    sizes = {
        "b": batch, "h": model.heads, "i": tokens // block, "j": block, "p": tokens,
        "e": model.head_size, "f": model.head_size,
    }  # fmt: skip
    text = ONE_PASS.format(block=block, blocks=tokens // block)
    return parse_cascade(text, sizes, name=f"{model.name}_{tokens}_one_pass", bits=WORD_BITS)
