"""accelsim: how long a model takes on a machine, what energy and traffic it costs, what limits it, what to build.

    >>> import accelsim
    >>> report = accelsim.simulate(accelsim.load_architecture("tpu_like"), accelsim.load_model("gpt2", seq=128))

Public names load on first use, so that importing accelsim is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .arch.loader import load_architecture as load_architecture
    from .errors import AccelsimError as AccelsimError
    from .errors import BadInput as BadInput
    from .errors import DoesNotFit as DoesNotFit
    from .report import Report as Report
    from .simulation import simulate as simulate
    from .study import Axis as Axis
    from .study import Study as Study
    from .study import Sweep as Sweep
    from .study import run_sweep as run_sweep
    from .workloads import load_model as load_model

__version__ = "0.1.0"

_HOME = {
    "AccelsimError": "errors",
    "Axis": "study",
    "BadInput": "errors",
    "DoesNotFit": "errors",
    "Report": "report",
    "Study": "study",
    "Sweep": "study",
    "load_architecture": "arch.loader",
    "load_model": "workloads",
    "run_sweep": "study",
    "simulate": "simulation",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'accelsim' has no attribute '{name}'")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
