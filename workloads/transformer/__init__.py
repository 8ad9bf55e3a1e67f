"""Transformers as Workloads: what they are made of as values, and one builder for all of them."""

from .attention import mean_keys
from .build import HeadOn, build
from .experts import balanced
from .parallel import Exchange, exchanges, kv_bytes, tensor_parallel
from .spec import (
    Attention,
    Bits,
    Classifier,
    Experts,
    LatentAttention,
    Layer,
    Mlp,
    Norm,
    Options,
    PatchEmbedding,
    Pooler,
    TokenEmbedding,
    Transformer,
    VocabularyHead,
    stacks,
)
from .step import Group, build_step

__all__ = [
    "Attention",
    "Bits",
    "Classifier",
    "Exchange",
    "Experts",
    "Group",
    "HeadOn",
    "LatentAttention",
    "Layer",
    "Mlp",
    "Norm",
    "Options",
    "PatchEmbedding",
    "Pooler",
    "TokenEmbedding",
    "Transformer",
    "VocabularyHead",
    "balanced",
    "build",
    "build_step",
    "exchanges",
    "kv_bytes",
    "mean_keys",
    "stacks",
    "tensor_parallel",
]
