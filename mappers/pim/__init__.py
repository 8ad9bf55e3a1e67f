"""Mapper for machines that compute in their memory: products where their matrix lies, the rest on the chip beside it.

Every Einsum runs whole, one after the other, on the unit and in the variant that is fastest (or cheapest): products of
stored matrices and of caches on a `pim` unit, whose variants are layouts of the matrix over banks and rows
(`accelsim.components.pim`), all others on a unit at the on-chip memory. What is made on the chip stays there until its
last use, except for what is stored (caches, results) and what passes from one layer to the next.

Where the chip has a unit for products, such as a systolic array, every product runs where it takes least (`hybrid`).
"""

from .hybrid import in_memory
from .mapper import map_workload
from .plan import Choice, Movement, choices, movement

__all__ = ["Choice", "Movement", "choices", "in_memory", "map_workload", "movement"]
