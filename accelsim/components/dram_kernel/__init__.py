"""One DRAM channel under FR-FCFS, command by command, compiled. `dram_trace` explains it and calls it.

Time jumps from one event to the next: a request that enters, a command, a refresh. Everything runs as plain Python too.
"""

from .channel import serve
from .decode import deal, decode, gather
from .layout import ACTS, FINISH, HITS, LATENCY, LOGGED, PRES, READS, REFI, REFS, WRITES, Log, fresh

__all__ = [
    "ACTS", "FINISH", "HITS", "LATENCY", "LOGGED", "PRES", "READS", "REFI", "REFS", "WRITES", "Log", "deal", "decode",
    "fresh", "gather", "serve",
]  # fmt: skip
