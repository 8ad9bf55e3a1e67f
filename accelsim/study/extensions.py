"""Extensions: the sources of mappers and kinds of components that come from other packages, as results depend on them.

What comes with accelsim is not looked at here: `evaluation.code_hash` covers it.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..arch.architecture import Architecture
    from ..arch.component import Component

OWN = "accelsim"
SUFFIXES = (".py", ".csv", ".so", ".pyd")
"""Of the files of a package that results may depend on: sources, tables, compiled modules."""


class Extensions:
    """Hashes of the packages that results depend on beside accelsim.

    Each package is read once, and the packages of a mapper or of a kind of component are found once: to go through all
    entry points takes longer than many a simulation.
    """

    def __init__(self) -> None:
        self._hashes: dict[str, str] = {}
        self._mappers: dict[str, frozenset[str]] = {}
        self._kinds: dict[type[Component], frozenset[str]] = {}

    def hash(self, arch: Architecture, mapper: str) -> str:
        """Packages behind a mapper and the components of a machine, each with SHA-256; empty if there are none."""
        from ..simulation import auto_mapper

        chosen = auto_mapper(arch) if mapper == "auto" else mapper
        if chosen not in self._mappers:
            self._mappers[chosen] = _packages(_of_mapper(chosen))
        found = set(self._mappers[chosen])
        for kind in {type(component) for component in arch.components()}:
            if kind not in self._kinds:
                self._kinds[kind] = _packages(_of_kind(kind))
            found |= self._kinds[kind]
        for package in found - self._hashes.keys():
            self._hashes[package] = _hash(package)
        return ",".join(f"{package}:{self._hashes[package]}" for package in sorted(found))


def _of_mapper(mapper: str) -> Iterator[str]:
    """Modules of a mapper and its floor."""
    from ..simulation import FLOOR_GROUP, MAPPER_GROUP, entry_of

    for group in (MAPPER_GROUP, FLOOR_GROUP):
        if (entry := entry_of(group, mapper)) is not None:
            yield entry.module
            if entry.module.split(".")[0] != OWN:  # may have been made elsewhere
                yield str(getattr(entry.load(), "__module__", entry.module))


def _of_kind(kind: type[Component]) -> Iterator[str]:
    """Modules of a kind of component and of those it is derived from."""
    from ..arch.component import Component

    return (base.__module__ for base in kind.__mro__ if issubclass(base, Component))


def _packages(modules: Iterable[str]) -> frozenset[str]:
    return frozenset(package for module in modules if (package := _package(module)))


def _package(module: str) -> str:
    """The outermost package or file that a module belongs to, empty if that is accelsim.

    Packages without a file of their own, which several distributions may share, are passed over.
    """
    parts = module.split(".")
    if parts[0] == OWN:
        return ""
    names = (".".join(parts[:count]) for count in range(1, len(parts)))
    return next((name for name in names if _origin(name) is not None), module)


def _origin(module: str) -> Path | None:
    """The file of a module; None where it has none, as in an interactive session."""
    loaded = sys.modules.get(module)
    spec = getattr(loaded, "__spec__", None) if loaded is not None else find_spec(module)
    file = getattr(loaded, "__file__", None) or (spec.origin if spec is not None and spec.has_location else None)
    return Path(file) if file else None


def _hash(package: str) -> str:
    digest = hashlib.sha256()
    origin = _origin(package)
    if origin is not None:
        for name, file in _files(origin):
            digest.update(name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _files(origin: Path) -> Iterable[tuple[str, Path]]:
    """The files of the package whose ``__init__`` is given, or of a module that is one file, by name."""
    if origin.stem != "__init__":
        return [(origin.name, origin)]
    found = (file for suffix in SUFFIXES for file in origin.parent.rglob(f"*{suffix}"))
    return sorted((file.relative_to(origin.parent).as_posix(), file) for file in found if file.is_file())
