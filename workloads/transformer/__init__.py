"""Transformers as Workloads: what they are made of as values, and one builder for all of them."""

from .attention import mean_keys
from .build import HeadOn, build
from .experts import balanced
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

__all__ = [
    "Attention",
    "Bits",
    "Classifier",
    "Experts",
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
    "mean_keys",
    "stacks",
]
