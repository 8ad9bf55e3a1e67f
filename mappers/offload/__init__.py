"""Mapper for offloaded generation: where weights, caches and hidden states lie, from a linear program (FlexGen).

`solve` finds shares for batches of a given size, `best` sizes of batches too; `generate` lowers a policy to Programs,
pass by pass, and simulates them.
"""

from .machine import Machine, Rates, machine_of
from .parts import Model, Part, Work, model_of
from .policy import Block, Policy, solve
from .schedule import Generation, generate, pass_of, simulate
from .search import best

__all__ = [
    "Block",
    "Generation",
    "Machine",
    "Model",
    "Part",
    "Policy",
    "Rates",
    "Work",
    "best",
    "generate",
    "machine_of",
    "model_of",
    "pass_of",
    "simulate",
    "solve",
]
