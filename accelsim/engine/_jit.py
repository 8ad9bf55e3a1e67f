"""Compilation of the kernel, whose files are kept together, and the way back to plain Python."""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba.core.errors import NumbaExperimentalFeatureWarning

from ..jit import stamped

KERNEL_FILES = ("program", "columns", "queues", "private", "timed", "jump", "kernel", "load", "_jit")
jit = stamped(*(Path(__file__).with_name(f"{name}.py") for name in KERNEL_FILES), error_model="python")
"""Compile a function of the kernel, and keep the code on disk until any kernel file changes."""


def quietly(function: Callable[..., Any], *args: Any) -> Any:
    """Call what may compile, without numba's word that functions as values are new in it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumbaExperimentalFeatureWarning)
        return function(*args)


def uncompiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a compiled function as plain Python, and with it everything compiled that it calls."""
    done: dict[int, Callable[..., Any]] = {}

    def plain(compiled: Any) -> Callable[..., Any]:
        if id(compiled) not in done:
            source: types.FunctionType = compiled.py_func
            names = dict(source.__globals__)
            copy = types.FunctionType(source.__code__, names, source.__name__, source.__defaults__)
            done[id(compiled)] = copy
            for name in source.__code__.co_names:
                if hasattr(names.get(name), "py_func"):
                    names[name] = plain(names[name])
        return done[id(compiled)]

    return plain(function)
