"""Transforms that make a model smaller: what it holds, moves and computes follows; what it answers is not told.

Whether a model that is quantised, pruned or left with a part of its cache still answers as well lies outside of this
simulator, and every transform of a Workload says so in its `notes`, which reports repeat. Zeros that lie anywhere are
`accelsim.ir.with_density`.
"""

from ...ir import GroupBits
from .blocks import block_sparse
from .evict import evicted
from .heads import with_kv_heads, with_latent_cache
from .layers import shared_across_layers
from .planes import bit_planes
from .precision import quantised

__all__ = [
    "GroupBits",
    "bit_planes",
    "block_sparse",
    "evicted",
    "quantised",
    "shared_across_layers",
    "with_kv_heads",
    "with_latent_cache",
]
