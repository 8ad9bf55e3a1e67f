"""A search whose driver is killed again and again, and resumed: its table is that of one that ran through.

    python benchmarks/killed_search.py [--kills 10] [--points 60] [--seed 0]

The driver gets SIGKILL at moments drawn from the time that the uninterrupted search took. After each the processes of
its session are looked for, then it goes on with --resume; when a search is at its end, the next kill meets a new one.
Exits with 1 if a table differs or a process is left.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ORPHANS_GONE_S = 20
"""A worker looks for its driver now and then, and compiled code ends before it does."""


def command(folder: Path, points: int) -> list[str]:
    axes = ["arch.memories.sram.capacity=128 KiB..4 MiB log", "arch.memories.dram.bandwidth=2 GB/s..64 GB/s log",
            "arch.units.array.rows+arch.units.array.cols=4,8,16,32,64", "objective=latency,energy"]  # fmt: skip
    given = [word for axis in axes for word in ("--axis", axis)]
    return [sys.executable, "-m", "accelsim", "sweep", "edge_npu", "gpt2", "--seq", "64", "--bits", "8", *given,
            "--search", f"nsga2:{points}", "--out", str(folder), "--jobs", "2", "--resume"]  # fmt: skip


def table(folder: Path) -> str:
    return hashlib.sha256((folder / "results.csv").read_bytes()).hexdigest()[:16]


def of_session(leader: int) -> list[int]:
    """Processes of the session that a driver led."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getsid(int(entry.name)) == leader and " Z " not in (entry / "stat").read_text():
                    found.append(int(entry.name))
            except (ProcessLookupError, FileNotFoundError):
                continue
    return found


def start(folder: Path, points: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command(folder, points), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                            start_new_session=True)  # fmt: skip


def killed(driver: subprocess.Popen[bytes], after: float) -> bool:
    """Kill a driver after these seconds, and see that all of its session ends; False if it had ended by itself."""
    try:
        if driver.wait(after):
            sys.exit("a search that nobody killed failed")
        return False
    except subprocess.TimeoutExpired:
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    end = time.monotonic() + ORPHANS_GONE_S
    while (left := of_session(driver.pid)) and time.monotonic() < end:
        time.sleep(0.1)
    if left:
        sys.exit(f"processes {left} are left of a driver killed after {after:.1f} s")
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--points", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    draw, kills, tables = random.Random(given.seed), 0, list[str]()
    with tempfile.TemporaryDirectory() as temporary:
        began = time.monotonic()
        if start(Path(temporary, "whole"), given.points).wait():
            sys.exit("the uninterrupted search failed")
        seconds = time.monotonic() - began
        right = table(Path(temporary, "whole"))
        while kills < given.kills:
            folder = Path(temporary, f"broken{len(tables)}")
            while kills < given.kills and killed(start(folder, given.points), draw.uniform(0, seconds)):
                kills += 1
            if start(folder, given.points).wait():
                sys.exit("the resumed search failed")
            tables.append(table(folder))
    print(f"{given.points} points in {seconds:.1f} s; {kills} drivers killed in {len(tables)} searches, no process "
          f"left; tables {right} and {', '.join(tables)}")  # fmt: skip
    sys.exit(set(tables) != {right})


if __name__ == "__main__":
    main()
