"""Mapper for machines with crossbars: every matrix of weights has arrays of its own, with as many copies as pay.

Products with weights run on a `crossbar` unit, all others on the unit that is fastest at them. Weights lie in the cells
when the run begins. Arrays that are left go to further copies (`copies`). With several samples, Einsums form a pipeline
in which each works on a sample of its own (`trees`); where its buffers do not fit, or it is slower, Einsums run one
after the other. What does not fit into the memory beside the arrays goes through the one outside.
"""

from .copies import Choice, choices, with_copies
from .plan import map_workload

__all__ = ["Choice", "choices", "map_workload", "with_copies"]
