"""Compilation of the kernel: numba with a disk cache that knows all of the kernel's files."""

from __future__ import annotations

import hashlib
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba as nb
from numba.core.errors import NumbaExperimentalFeatureWarning

F = TypeVar("F", bound=Callable[..., Any])

KERNEL_FILES = ("program", "columns", "queues", "private", "timed", "jump", "kernel", "load", "_jit")


def _digest() -> str:
    text = b"".join((Path(__file__).parent / f"{name}.py").read_bytes() for name in KERNEL_FILES)
    return hashlib.sha1(text, usedforsecurity=False).hexdigest()


_DIGEST = _digest()
_njit: Any = nb.njit


def jit(function: F) -> F:
    """Compile a function when it is first called, and keep the code on disk until any kernel file changes.

    numba's own stamp covers the file of the function alone, not those of its callees. Reference counts are left out:
    the caller holds all arrays while the kernel runs, and counting took most of its time.
    """
    try:
        compiled = _njit(cache=True, _nrt=False)(function)
    except RuntimeError:  # no folder that can be written to
        return cast(F, _njit(_nrt=False)(function))
    compiled._cache._cache_file._source_stamp = _DIGEST
    return cast(F, compiled)


def inlined(function: F) -> F:
    """Compile a function as part of its callers: handing all tables from call to call costs more than the work."""
    return cast(F, _njit(inline="always", _nrt=False)(function))


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
