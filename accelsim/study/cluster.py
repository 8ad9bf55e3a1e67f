"""An executor on a Dask cluster, for sweeps that one computer is too small for.

Start a scheduler and workers with the extra ``cluster`` installed (``dask scheduler``; on every computer
``dask worker tcp://HOST:8786 --nworkers 8 --nthreads 1``) and give the scheduler's address to ``accelsim sweep
--cluster``. Machine and model files must lie under the same paths everywhere. One process, the one that runs the sweep,
writes the store; a worker that is lost costs the time of what it was at, and nothing else.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, ParamSpec, TypeVar

from ..errors import BadInput
from .pool import WorkerDied

P = ParamSpec("P")
T = TypeVar("T")

TIMEOUT_S = 10
LIBRARIES = ("numpy", "scipy", "numba", "pulp", "highspy")
"""What results may depend on, beside accelsim itself."""


class ClusterExecutor(Executor):
    """Runs calls on the workers of a cluster; of a call whose workers died the future fails with `WorkerDied`."""

    group = 8
    """Points that go to a worker at a time, so that the scheduler has less to do."""

    def __init__(self, address: str) -> None:
        """Connect. Raises BadInput: no `distributed`, nobody at the address, no workers, workers of other versions."""
        self._client = _connect(address)
        try:
            self._check(address)
        except BaseException:
            self._client.close()
            raise

    @property
    def window(self) -> int:
        """Calls to keep with the cluster: enough that no worker waits."""
        threads: dict[str, int] = self._client.nthreads()
        return max(4, 3 * sum(threads.values()))

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Send ``fn(*args)`` to a worker."""
        future: Future[T] = Future()
        sent = self._client.submit(call_on_worker, versions(), os.getcwd(), fn, args, kwargs, pure=False)
        sent.add_done_callback(lambda done: _settle(future, done))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster; calls that have not ended are dropped. The workers stay."""
        with suppress(Exception):
            self._client.close()

    def _check(self, address: str) -> None:
        there: dict[str, Any] = self._client.run(versions, on_error="return")
        if not there:
            raise BadInput(f"--cluster {address}: the scheduler has no workers (`dask worker {address}` starts some)")
        here = versions()
        for worker, found in sorted(there.items()):
            if not isinstance(found, dict):
                raise BadInput(f"--cluster {address}: worker {worker} cannot load accelsim ({found})")
            if told := _differences(here, found):
                raise BadInput(f"--cluster {address}: worker {worker} {told} (install the same versions everywhere)")


def versions() -> dict[str, str]:
    """Versions that results depend on, by name; of accelsim the hash of its sources."""
    return dict(_versions())


@lru_cache(maxsize=1)
def _versions() -> tuple[tuple[str, str], ...]:
    from importlib.metadata import PackageNotFoundError, version

    from .evaluation import code_hash

    found = {"python": platform.python_version(), "accelsim": code_hash()}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return tuple(found.items())


def call_on_worker(expected: dict[str, str], folder: str, fn: Callable[..., T], args: Any, kwargs: Any) -> T:
    """What a worker does with a call: check its versions, since it may have joined late, and go to the sweep's folder.

    Raises:
        BadInput: other versions, or no such folder.
    """
    if told := _differences(expected, versions()):
        raise BadInput(f"a worker {told}")
    if os.getcwd() != folder:
        try:
            os.chdir(folder)
        except OSError as error:
            raise BadInput(f"a worker has no folder {folder} ({error.strerror})") from error
    return fn(*args, **kwargs)


def _differences(here: dict[str, str], there: dict[str, str]) -> str:
    differ = [name for name in here if there.get(name) != here[name]]
    return "; ".join(f"has {n} {there.get(n, 'not at all')[:12]}, not {here[n][:12]}" for n in differ)


def _settle(future: Future[T], done: Any) -> None:
    """Hand the result on. Called in a thread of the client."""
    if future.cancelled():
        return
    if done.status == "cancelled":
        future.set_exception(WorkerDied("the cluster dropped this point"))
        return
    error = done.exception()
    if error is None:
        future.set_result(done.result())
    elif type(error).__name__ == "KilledWorker":
        future.set_exception(WorkerDied("the workers of the cluster ended while evaluating this point"))
    else:
        future.set_exception(error)


def _connect(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError as error:
        raise BadInput(f"--cluster {address}: needs Dask (pip install 'accelsim[cluster]')") from error
    try:
        connect: Any = Client
        return connect(address, timeout=TIMEOUT_S, set_as_default=False)
    except (OSError, ValueError) as error:  # a timeout is an OSError
        raise BadInput(f"--cluster {address}: no scheduler answers ({error})") from error


@contextmanager
def cluster(address: str) -> Iterator[ClusterExecutor]:
    """The executor, and the connection closed at the end of the block."""
    executor = ClusterExecutor(address)
    try:
        yield executor
    finally:
        executor.shutdown()
