"""How the kernels are compiled: numba, when a function is first called, with the code kept on disk.

This imports numba, which takes half a second: modules that are always imported import it where they need it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba as nb

F = TypeVar("F", bound=Callable[..., Any])
_njit: Any = nb.njit


def stamped(*files: Path, nogil: bool = False, error_model: str = "numpy") -> Callable[[F], F]:
    """Compile functions when they are first called, and keep the code on disk until any of the files changes.

    numba's own stamp covers the file of the function alone, not those of its callees. Reference counts are left out:
    the caller holds all arrays while a kernel runs, and counting took most of its time.

    Args:
        files: the file of the functions, and those of all that they call.
        nogil: other threads may run meanwhile.
        error_model: "numpy", where a division by zero gives infinity, or "python", where it raises.
    """
    stamp = hashlib.sha1(b"".join(f.read_bytes() for f in files), usedforsecurity=False).hexdigest()

    def compiled(function: F) -> F:
        try:
            found = _njit(cache=True, nogil=nogil, _nrt=False, error_model=error_model)(function)
            found._cache._cache_file._source_stamp = stamp
        except RuntimeError:  # no folder that can be written to
            found = _njit(nogil=nogil, _nrt=False, error_model=error_model)(function)
        _compile_once(found)
        return cast(F, found)

    return compiled


def inlined(function: F) -> F:
    """Compile a function into its callers: handing all tables from call to call costs more than the work.

    LLVM puts it there, not numba: with numba's way (`inline="always"`) the kernel makes half as many firings a second.
    """
    found = _njit(forceinline=True, _nrt=False)(function)
    _compile_once(found)
    return cast(F, found)


def _compile_once(dispatcher: Any) -> None:
    """Take constants among the arguments for any other numbers.

    numba compiles a function once more for every constant that another one calls it with, which was a third of the
    time that compiling took, and LLVM puts constants into what it inlines all the same.
    """
    ask = dispatcher.get_call_template
    unliteral: Any = nb.types.unliteral

    def template(args: Iterable[Any], kws: dict[str, Any]) -> Any:
        return ask([unliteral(a) for a in args], {name: unliteral(a) for name, a in kws.items()})

    dispatcher.get_call_template = template
