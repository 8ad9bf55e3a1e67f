"""WorkerPool: an executor whose workers may be killed without harm to any call but the one they were at."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, TypeVar

from ..errors import BadInput
from . import worker

P = ParamSpec("P")
T = TypeVar("T")


MOST_JOBS = 1024
"""Worker processes of one pool."""


def check_jobs(jobs: int) -> None:
    """Raise BadInput for a number of worker processes that no computer takes."""
    if not 0 <= jobs <= MOST_JOBS:
        raise BadInput(f"{jobs} worker processes (from 0, which is this process, to {MOST_JOBS})")


class WorkerDied(Exception):
    """The process that ran a call ended before it answered."""


@dataclass
class _Call:
    future: Future[Any]
    frame: bytes


class _Worker:
    """One process and its two pipes."""

    def __init__(self) -> None:
        # One thread of arithmetic per worker: the pool is the parallelism.
        env = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **os.environ}
        # A group of its own, so that Ctrl-C at the terminal reaches the parent alone.
        self.process = subprocess.Popen(
            [sys.executable, "-P", worker.__file__, str(os.getpid())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, process_group=0,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.calls, self.results = self.process.stdin, self.process.stdout
        pickle.dump(sys.path, self.calls)

    def call(self, frame: bytes) -> tuple[bool, Any]:
        """Send one call and wait for its answer; raises WorkerDied."""
        try:
            pickle.dump(frame, self.calls)
            self.calls.flush()
            answer: bytes = pickle.load(self.results)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            code = self.stop()
            how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
            raise WorkerDied(f"the worker process ended ({how}) while evaluating this point") from error
        result: tuple[bool, Any] = pickle.loads(answer)
        return result

    def stop(self) -> int:
        """End the process, whatever it is doing; returns its exit code."""
        with suppress(OSError):
            self.calls.close()
        try:
            code = self.process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.results.close()
        return code


class WorkerPool(Executor):
    """Runs calls in `jobs` fresh Python processes, one call at a time in each.

    Unlike ProcessPoolExecutor, a worker that dies fails its own call (with `WorkerDied`) and is replaced; the other
    calls go on. Workers do not import the caller's main module, ignore Ctrl-C, and die with their parent.
    """

    def __init__(self, jobs: int) -> None:
        """Raises BadInput for more than `MOST_JOBS`."""
        check_jobs(jobs)
        self._queue: SimpleQueue[_Call | None] = SimpleQueue()
        self._workers: set[_Worker] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(jobs)]
        for thread in self._threads:
            thread.start()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Queue ``fn(*args)``; both must be picklable, and there are no keyword arguments."""
        if kwargs:
            raise TypeError("WorkerPool takes positional arguments only")
        future: Future[T] = Future()
        self._queue.put(_Call(future, pickle.dumps((fn, args))))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the queue run out, or with `cancel_futures` drop what has not begun; then end the workers."""
        if cancel_futures:
            self._drop()
        self._closed = True
        for _ in self._threads:
            self._queue.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def kill(self) -> None:
        """End the workers at once; calls in progress fail with `WorkerDied`."""
        self._drop()
        self._closed = True
        with self._lock:
            for running in self._workers:
                running.process.kill()
        self.shutdown()

    def _drop(self) -> None:
        while True:
            try:
                call = self._queue.get_nowait()
            except Empty:
                return
            if call is not None:
                call.future.cancel()

    def _serve(self) -> None:
        """The life of one thread: it owns one worker at a time and feeds it calls."""
        process: _Worker | None = None
        while (call := self._queue.get()) is not None:
            if not call.future.set_running_or_notify_cancel():
                continue
            try:
                if process is None:
                    process = self._start()
                ok, value = process.call(call.frame)
            except BaseException as error:
                if process is not None:
                    self._forget(process)
                    process = None
                call.future.set_exception(error)
                continue
            if ok:
                call.future.set_result(value)
            else:
                call.future.set_exception(value)
        if process is not None:
            process.stop()
            self._forget(process)

    def _start(self) -> _Worker:
        with self._lock:
            if self._closed:
                raise WorkerDied("the pool was shut down")
            process = _Worker()
            self._workers.add(process)
            return process

    def _forget(self, process: _Worker) -> None:
        with self._lock:
            self._workers.discard(process)
