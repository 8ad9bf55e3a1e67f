"""A worker process of `WorkerPool`: reads pickled calls from standard input, writes pickled results to standard output.

Started by its path, with the process id of its parent; it imports nothing of accelsim itself, and takes the search path
of modules from the parent. It ends when its input closes, and is killed when its parent dies.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
import threading
import time
from typing import BinaryIO


def die_with_parent(parent: int) -> None:
    """Make sure that this process does not outlive `parent`, even if that is killed outright."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1  # linux/prctl.h
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def serve(calls: BinaryIO, results: BinaryIO) -> None:
    """Answer calls ``(function, arguments)`` with ``(True, value)`` or ``(False, exception)`` until the input ends."""
    while True:
        try:
            frame = pickle.load(calls)
        except EOFError:
            return
        try:
            function, arguments = pickle.loads(frame)
            answer = pickle.dumps((True, function(*arguments)))
        except Exception as error:
            answer = _failure(error)
        pickle.dump(answer, results)
        results.flush()


def _failure(error: Exception) -> bytes:
    try:
        answer = pickle.dumps((False, error))
        pickle.loads(answer)
    except Exception:  # an exception that does not survive pickling is told by its text
        answer = pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))
    return answer


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(int(sys.argv[1]))
    # What the called code prints must not end up among the results.
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.path[:] = pickle.load(sys.stdin.buffer)
    serve(sys.stdin.buffer, results)


if __name__ == "__main__":
    main()
